//! Compiles the protobuf files with protox, so that a build needs no protoc.

fn main() {
    let files = ["varve/v1/model.proto", "varve/v1/datanode.proto", "varve/v1/metasrv.proto"];
    let descriptors = protox::compile(files, ["."]).expect("the files in varve/v1 are valid protobuf");
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors).expect("OUT_DIR can be written: cargo made it");
    #[allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]
    {
        println!("cargo::rerun-if-changed=varve");
    }
}
