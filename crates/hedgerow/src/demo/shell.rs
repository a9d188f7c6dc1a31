//! Commands as a user types them: printed, run by bash exactly as printed, output shown and kept.

use std::collections::BTreeMap;
use std::env;
use std::io::{IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, killpg, sigaction};
use nix::unistd::Pid;

use crate::lab::state::LabName;

/// No single command of the demo takes longer.
const LIMIT: Duration = Duration::from_secs(180);
/// How long a command that was told to end may take.
const GRACE: Duration = Duration::from_secs(10);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes Ctrl-C and a polite kill end the current command, so that the demo can clean up.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn catch_signals() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("catching {signal}"))?;
    }
    Ok(())
}

/// What a command printed, on both of its outputs, and whether it succeeded.
#[derive(Debug)]
pub struct Seen {
    /// Its output, without the last newline.
    pub text: String,
    /// Its exit status was 0.
    pub succeeded: bool,
}

/// A user's shell: its variables last from one command to the next.
#[derive(Debug)]
pub struct Shell {
    variables: BTreeMap<String, String>,
    colour: bool,
}

impl Shell {
    /// A shell in which `hedgerow` is this program, and talks about this lab.
    ///
    /// # Errors
    /// When this program's own file cannot be found.
    pub fn new(lab: &LabName) -> Result<Self> {
        let exe = env::current_exe().context("finding this program's own file")?;
        let folder = exe.parent().context("finding this program's folder")?;
        let path = env::var("PATH").unwrap_or_default();
        let mut variables = BTreeMap::new();
        variables.insert("PATH".to_owned(), format!("{}:{path}", folder.display()));
        variables.insert("HEDGEROW_LAB".to_owned(), lab.to_string());
        Ok(Self { variables, colour: std::io::stdout().is_terminal() })
    }

    /// A heading of the story.
    pub fn tell(&self, words: &str) {
        if self.colour {
            println!("\n\x1b[32m# {words}\x1b[0m");
        } else {
            println!("\n# {words}");
        }
    }

    /// The value of a variable, empty if it is not set.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// Sets a variable, as `NAME=value` typed by the user does.
    pub fn set(&mut self, name: &str, value: &str) {
        self.print_command(&format!("export {name}={value}"));
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Prints a command, runs it, prints what it says.
    ///
    /// # Errors
    /// When it cannot be run, fails, takes longer than [`LIMIT`], or the user interrupts it.
    pub fn run(&self, command: &str) -> Result<String> {
        self.print_command(command);
        let seen = self.quiet(command)?;
        if !seen.text.is_empty() {
            println!("{}", seen.text);
        }
        if !seen.succeeded {
            bail!("this command failed: {command}\n{}", seen.text);
        }
        Ok(seen.text)
    }

    /// Prints and runs `NAME=$(command)`; later commands see the variable.
    ///
    /// # Errors
    /// As [`Shell::run`]; also when nothing came out.
    pub fn assign(&mut self, name: &str, command: &str) -> Result<()> {
        self.print_command(&format!("{name}=$({command})"));
        let seen = self.quiet(command)?;
        if !seen.succeeded || seen.text.is_empty() || seen.text == "None" {
            bail!("this command failed or said nothing: {command}\n{}", seen.text);
        }
        println!("{}", seen.text);
        self.variables.insert(name.to_owned(), seen.text);
        Ok(())
    }

    /// Prints and runs `eval "$(command)"`: its `export` lines become variables.
    ///
    /// # Errors
    /// As [`Shell::run`].
    pub fn eval(&mut self, command: &str) -> Result<()> {
        self.print_command(&format!("eval \"$({command})\""));
        let seen = self.quiet(&format!("set -e; lines=$({command}); eval \"$lines\"; env -0"))?;
        if !seen.succeeded {
            bail!("this command failed: {command}\n{}", seen.text);
        }
        let pairs = seen.text.split('\0').filter_map(|pair| pair.split_once('='));
        self.variables.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Ok(())
    }

    /// Prints and runs a command that draws its own progress.
    ///
    /// # Errors
    /// As [`Shell::run`].
    pub fn run_drawing(&self, command: &str) -> Result<()> {
        self.print_command(command);
        let mut bash = self.bash(command);
        let mut child = bash.spawn().context("running bash")?;
        if !wait(&mut child, command)? {
            bail!("this command failed: {command}");
        }
        Ok(())
    }

    /// Repeats a command, without printing anything, until `enough` likes what it says.
    ///
    /// # Errors
    /// When it takes longer than `limit`, or the user interrupts it.
    pub fn until(
        &self,
        command: &str,
        limit: Duration,
        enough: impl Fn(&Seen) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.quiet(command)?;
            if enough(&seen) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let text = seen.text;
                bail!(
                    "within {} s this did not say what it should: {command}\n{text}",
                    limit.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Runs a command without printing anything.
    ///
    /// # Errors
    /// When it cannot be run, takes longer than [`LIMIT`], or the user interrupts it.
    pub fn quiet(&self, command: &str) -> Result<Seen> {
        let mut bash = self.bash(&format!("exec 2>&1; {command}"));
        let mut child = bash.stdout(Stdio::piped()).spawn().context("running bash")?;
        let mut stdout = child.stdout.take().context("reading bash's output")?;
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        });
        let succeeded = wait(&mut child, command)?;
        let bytes =
            reader.join().expect("reading does not panic").context("reading bash's output")?;
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Ok(Seen { text, succeeded })
    }

    fn bash(&self, command: &str) -> Command {
        let mut bash = Command::new("bash");
        // A process group of its own: an interrupt is passed on by us, once, and to all of it.
        bash.args(["-c", command]).stdin(Stdio::null()).process_group(0);
        bash.envs(&self.variables);
        bash
    }

    fn print_command(&self, command: &str) {
        if self.colour {
            println!("\x1b[1m$ {command}\x1b[0m");
        } else {
            println!("$ {command}");
        }
    }
}

/// Waits for a command to end; whether it succeeded.
fn wait(child: &mut Child, command: &str) -> Result<bool> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().context("waiting for bash")? {
            return Ok(status.success());
        }
        let interrupted = INTERRUPTED.load(Ordering::Relaxed);
        if interrupted || Instant::now() >= deadline {
            end(child);
            bail!("{} {command}", if interrupted { "interrupted:" } else { "took too long:" });
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Ends a command and everything it started.
fn end(child: &mut Child) {
    let group = Pid::from_raw(child.id() as i32);
    let _ = killpg(group, Signal::SIGTERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(20));
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Shell {
        Shell::new(&"test".parse().expect("a name")).expect("shell")
    }

    #[test]
    fn variables_last() {
        let mut shell = shell();
        shell.assign("A", "echo one").expect("assign");
        shell.eval("echo 'export B=\"two words\"'").expect("eval");
        assert_eq!(shell.run("echo $A, $B").expect("run"), "one, two words");
    }

    #[test]
    fn both_outputs_and_the_status_are_kept() {
        let seen = shell().quiet("echo out; echo err >&2; exit 3").expect("runs");
        assert_eq!((seen.text.as_str(), seen.succeeded), ("out\nerr", false));
    }

    #[test]
    fn here_documents_expand_variables() {
        let mut shell = shell();
        shell.assign("A", "echo one").expect("assign");
        assert_eq!(shell.run("cat <<EOF\na: $A\nEOF").expect("run"), "a: one");
    }
}
