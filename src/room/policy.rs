//! Who may do what to whom: one pure table.
