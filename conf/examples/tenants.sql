-- sqlite3 tenants.sqlite < tenants.sql
CREATE TABLE tenant (name TEXT PRIMARY KEY, egress_pool TEXT NOT NULL);
INSERT INTO tenant VALUES ('tenant-id-0', 'pool-0'), ('tenant-id-2', 'pool-1');
