//! The thread that writes the access log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::logging;

/// Bytes that wait for the disk at most.
const WAITING_BYTES: usize = 8 << 20;

#[derive(Default)]
struct State {
    waiting: Vec<Vec<u8>>,
    bytes: usize,
    stop: bool,
}

/// Takes batches of lines and writes them.
pub(crate) struct Writer {
    state: Mutex<State>,
    filled: Condvar,
    lost_bytes: AtomicU64,
    failed_writes: AtomicU64,
}

impl Writer {
    /// Opens `target` (`-`: standard output) and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread started.
    pub(crate) fn start(target: &str) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let file = if target == "-" {
            None
        } else {
            Some(OpenOptions::new().create(true).append(true).open(target)?)
        };
        let writer = Arc::new(Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            lost_bytes: AtomicU64::new(0),
            failed_writes: AtomicU64::new(0),
        });
        let ours = Arc::clone(&writer);
        let thread = std::thread::Builder::new()
            .name("meltemi-access".to_owned())
            .spawn(move || ours.run(file))?;
        Ok((writer, thread))
    }

    /// Hands over a batch.
    ///
    /// # Errors
    /// The batch, which is lost, when too much waits already.
    pub(crate) fn push(&self, batch: Vec<u8>) -> Result<(), Vec<u8>> {
        let mut state = self.lock();
        if state.bytes + batch.len() > WAITING_BYTES {
            self.lost_bytes
                .fetch_add(batch.len() as u64, Ordering::Relaxed);
            return Err(batch);
        }
        state.bytes += batch.len();
        state.waiting.push(batch);
        self.filled.notify_one();
        Ok(())
    }

    /// Ends the thread once everything is written.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.filled.notify_one();
    }

    pub(crate) fn lost_bytes(&self) -> u64 {
        self.lost_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn failed_writes(&self) -> u64 {
        self.failed_writes.load(Ordering::Relaxed)
    }

    fn run(&self, mut file: Option<File>) {
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() && !state.stop {
                state = self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.waiting.is_empty() {
                return;
            }
            let batches = std::mem::take(&mut state.waiting);
            state.bytes = 0;
            drop(state);
            for batch in batches {
                self.write(file.as_mut(), &batch);
            }
        }
    }

    fn write(&self, file: Option<&mut File>, batch: &[u8]) {
        let result = match file {
            Some(file) => file.write_all(batch),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(batch).and_then(|()| out.flush())
            }
        };
        if let Err(error) = result {
            // A full disk loses lines, not requests; said once, counted always.
            self.lost_bytes
                .fetch_add(batch.len() as u64, Ordering::Relaxed);
            if self.failed_writes.fetch_add(1, Ordering::Relaxed) == 0 {
                logging::warning!("the access log cannot be written: {error}");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
