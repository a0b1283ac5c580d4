//! `varve-rig`.

fn main() -> std::process::ExitCode {
    varve_rig::program::main()
}
