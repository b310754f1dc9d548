//! `meltemi-load`: sends requests, verifies every reply, prints what it measured as JSON.

use std::process::ExitCode;

use meltemi_bench::arguments::{Arguments, help};
use meltemi_bench::load::options::{FLAGS, Options, USAGE};
use meltemi_bench::load::run::run;
use meltemi_bench::socket::raise_open_files;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(FLAGS, std::env::args().skip(1)) {
        Ok(arguments) if arguments.has("help") => {
            println!("{}", help(USAGE, FLAGS));
            return ExitCode::SUCCESS;
        }
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error.0),
    };
    let options = match Options::read(&arguments) {
        Ok(options) => options,
        Err(error) => return refuse(&error.0),
    };
    raise_open_files();
    match run(&options) {
        Ok((result, clean)) => {
            println!("{result}");
            ExitCode::from(if clean { 0 } else { 3 })
        }
        Err(message) => refuse(&message),
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("meltemi-load: {message}");
    ExitCode::from(2)
}
