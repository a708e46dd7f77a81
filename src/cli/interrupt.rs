//! Ctrl-C and SIGTERM: the first one is noted, a second one ends the process at once.

use std::sync::{LazyLock, Once};
use tokio::sync::watch;

/// Whether one came; for the whole process, as handlers of signals are.
static NOTED: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// Notes interrupts from now on, and those that came since another part of the command began to.
pub(super) fn listen() -> watch::Receiver<bool> {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        let handler = || {
            if NOTED.send_replace(true) {
                std::process::exit(130);
            }
            eprintln!("\nstopping; press Ctrl-C again to end at once");
        };
        // without it a signal ends the process, and a job that was under way can be resumed
        let _ = ctrlc::set_handler(handler);
    });
    NOTED.subscribe()
}

/// A question whether one came.
pub(super) fn noted() -> impl Fn() -> bool {
    let noted = listen();
    move || *noted.borrow()
}
