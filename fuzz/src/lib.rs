//! What the fuzz targets share. A target is a plain function in `targets/`: the fuzzer calls it with bytes of its own
//! making, `tests/corpora.rs` of the main crate with the stored ones and mutations of them.

// The members, forgers and voices of the main crate's tests.
#[path = "../../tests/forger/mod.rs"]
pub mod forger;
#[path = "../../tests/seal_attacks/insider.rs"]
pub mod insider;
#[path = "../../tests/party/mod.rs"]
pub mod party;
#[path = "../../tests/sealed/mod.rs"]
pub mod sealed;
pub mod seeds;
pub mod targets;
