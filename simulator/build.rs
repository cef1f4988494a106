//! Compiles the wire schema into Rust with protox, so that no `protoc` is needed. Never reads anything but the server's `proto/`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../server/proto/waypost.proto");
    let schema = protox::compile(["../server/proto/waypost.proto"], ["../server/proto"])?;
    prost_build::Config::new().compile_fds(schema)?;
    Ok(())
}
