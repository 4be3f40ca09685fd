"""What plugins implement: one module a role, ABCs and their errors, no logic beyond defaults."""
