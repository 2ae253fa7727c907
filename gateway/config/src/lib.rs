//! bailiwick-config
