//! Tells the linker how to leave Node-API symbols to the host process. The core
//! alone (`--no-default-features`) needs nothing.

fn main() {
    if std::env::var_os("CARGO_FEATURE_NODE").is_some() {
        napi_build::setup();
    }
}
