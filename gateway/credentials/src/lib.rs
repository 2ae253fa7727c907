//! Credentials lent to connectors.
