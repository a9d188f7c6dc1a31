//! What a long command is doing: a line per finished step, and on a terminal a spinner with the
//! current one. Everything goes to standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The steps of one command, in order.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    step: Option<String>,
    step_started: Instant,
}

impl Progress {
    /// Starts the clock.
    pub fn start() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
                .expect("a constant template (shown by every run)"),
        );
        let now = Instant::now();
        Self { bar, started: now, step: None, step_started: now }
    }

    /// Ends the current step, says how long it took, and starts the next.
    pub fn step(&mut self, what: impl Into<String>) {
        self.end_step();
        let what = what.into();
        self.bar.set_message(what.clone());
        self.bar.reset_elapsed();
        self.bar.enable_steady_tick(Duration::from_millis(100));
        self.step = Some(what);
    }

    /// Shows what the current step is waiting for.
    pub fn detail(&self, detail: &str) {
        if let (Some(step), false) = (&self.step, detail.is_empty()) {
            self.bar.set_message(format!("{step}: {detail}"));
        }
    }

    /// Prints a line above the spinner.
    pub fn line(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Ends the last step; returns the time since [`Progress::start`].
    pub fn finish(&mut self) -> Duration {
        self.end_step();
        self.bar.finish_and_clear();
        self.started.elapsed()
    }

    /// Ends the last step as failed.
    pub fn fail(&mut self) {
        if let Some(step) = self.step.take() {
            self.line(&format!(" ✗ {step}"));
        }
        self.bar.finish_and_clear();
    }

    fn end_step(&mut self) {
        if let Some(step) = self.step.take() {
            let took = self.step_started.elapsed().as_secs_f32();
            self.line(&format!(" ✓ {step} ({took:.1} s)"));
        }
        self.step_started = Instant::now();
    }
}
