//! Only wires: arguments in, exit code out. Everything is in `firstlight::cli`.

fn main() -> std::process::ExitCode {
    firstlight::cli::main()
}
