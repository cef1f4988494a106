//! Compiles the wire schema into Rust with protox, so that no `protoc` is needed. Never reads anything but `proto/`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/waypost.proto");
    // A new file among them is taken in by the macro that embeds them, but not noticed by it.
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=migrations-dead-letters");
    let schema = protox::compile(["proto/waypost.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(schema)?;
    Ok(())
}
