//! Log lines on stderr: time, level, target, message. Written by a thread of its own, so that a
//! terminal that blocks never blocks a worker.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::access_log::time;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    Off,
    /// What keeps the proxy from doing its work.
    Error,
    /// What somebody should look at.
    Warning,
    /// What happens now and then.
    Info,
    /// What happens with connections.
    Debug,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "critical" | "error" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warning),
            "info" => Ok(Self::Info),
            "debug" | "trace" => Ok(Self::Debug),
            _ => Err(format!(
                "there is no log level {text:?}: off, error, warning, info, debug are"
            )),
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Lines that wait at most; what comes on top is dropped and counted.
const WAITING_LINES: usize = 1000;

static LOST: AtomicU64 = AtomicU64::new(0);

/// Sets how much is said from now on, for the whole process.
pub(crate) fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

#[inline]
pub(crate) fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

#[derive(Default)]
struct Queue {
    lines: Mutex<VecDeque<String>>,
    filled: Condvar,
}

static QUEUE: OnceLock<Queue> = OnceLock::new();

pub(crate) fn log(level: Level, target: &str, message: fmt::Arguments<'_>) {
    if !enabled(level) {
        return;
    }
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut line = String::with_capacity(96);
    let time = time::rfc3339(wall.as_micros() as u64);
    line.push_str(std::str::from_utf8(&time).unwrap_or_default());
    // Values that came from the wire may hold anything; a line stays one line.
    let message = message
        .to_string()
        .replace(|letter: char| letter.is_control(), " ");
    // The columns of the Python side, so that one log of one process reads as one.
    let place = target
        .strip_prefix("meltemi_proxy")
        .unwrap_or(target)
        .replace("::", ".");
    line = format!("{line} {:<7} engine{place}: {message}\n", level.as_str());
    let queue = QUEUE.get_or_init(|| {
        // Without the thread (out of threads) lines are dropped; the proxy goes on.
        let _ = std::thread::Builder::new()
            .name("meltemi-log".to_owned())
            .spawn(write_lines);
        Queue::default()
    });
    let mut lines = queue.lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() >= WAITING_LINES {
        LOST.fetch_add(1, Ordering::Relaxed);
        return;
    }
    lines.push_back(line);
    queue.filled.notify_one();
}

fn write_lines() {
    let queue = QUEUE.get_or_init(Queue::default);
    loop {
        let mut lines = queue.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.is_empty() {
            lines = queue
                .filled
                .wait(lines)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let batch: String = lines.drain(..).collect();
        drop(lines);
        // Nobody reads stderr: there is nowhere left to say so.
        let _ = std::io::stderr().write_all(batch.as_bytes());
    }
}

/// Lines that were dropped because nobody took them.
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

macro_rules! error {
    ($($arg:tt)*) => {
        $crate::logging::log($crate::logging::Level::Error, module_path!(), format_args!($($arg)*))
    };
}
macro_rules! warning {
    ($($arg:tt)*) => {
        $crate::logging::log($crate::logging::Level::Warning, module_path!(), format_args!($($arg)*))
    };
}
macro_rules! info {
    ($($arg:tt)*) => {
        $crate::logging::log($crate::logging::Level::Info, module_path!(), format_args!($($arg)*))
    };
}
macro_rules! debug {
    ($($arg:tt)*) => {
        if $crate::logging::enabled($crate::logging::Level::Debug) {
            $crate::logging::log(
                $crate::logging::Level::Debug,
                module_path!(),
                format_args!($($arg)*),
            )
        }
    };
}
pub(crate) use {debug, error, info, warning};
