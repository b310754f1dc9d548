//! `meltemi-echo`: a backend that answers each call with its argument and its port.

use std::process::ExitCode;

use meltemi_bench::arguments::{Arguments, help};
use meltemi_bench::echo::options::{FLAGS, Options, USAGE};
use meltemi_bench::echo::serve;
use meltemi_bench::socket::raise_open_files;
use serde_json::{Map, Value, json};

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
    match serve(&options) {
        Ok(calls) => {
            let addresses = options
                .listen
                .iter()
                .map(|(address, _)| address.to_string());
            let calls: Map<_, _> = addresses.zip(calls.into_iter().map(Value::from)).collect();
            println!("{}", json!({ "calls": calls }));
            ExitCode::SUCCESS
        }
        Err(message) => refuse(&message),
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("meltemi-echo: {message}");
    ExitCode::from(2)
}
