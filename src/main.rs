//! The `data-manager` binary: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    data_manager::cli::main()
}
