//! An authenticator made of software, for tests: real keys, real signatures.
