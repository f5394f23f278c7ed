"""Python policy: the points where it is asked, the policy that was loaded, and what a policy file can use."""
