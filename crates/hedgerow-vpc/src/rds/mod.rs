//! Runs the servers that [`crate::state`]'s databases are: one task holds them all and follows the
//! effects, one task per server starts it, watches it, ends it.
//!
//! ```text
//!   Effect::StartDatabase ──► supervisor ──► server (PostgreSQL in the database's namespace)
//!   Effect::StopDatabase        ▲   └──────── "creating" is now "available" or "failed" ──► API
//! ```

mod process;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::effect::{DatabaseView, Effect};
use crate::state::rds::Status;
pub(crate) use process::end_all_in;

/// Where servers run, and where their files are.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Name of the VPC process, as in `hr.NAME.…`.
    pub name: String,
    /// Folder of all databases; one folder in it each.
    pub folder: PathBuf,
    /// Whether servers outlive the process if it is killed, and data in any case.
    pub keep: bool,
}

/// What became of a server: region, namespace, status.
pub(crate) type News = (String, String, Status);

/// Where the databases of a process without `--state` have their files.
pub(crate) fn temporary_folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hedgerow-{name}-databases"))
}

/// Removes the files that a killed process of that name, without `--state`, left of its databases.
/// An absent folder is an empty one.
///
/// # Errors
/// When the folder cannot be removed.
pub fn sweep(name: &str) -> io::Result<()> {
    match std::fs::remove_dir_all(temporary_folder(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// One thing asked of the supervisor.
enum Command {
    Start(DatabaseView),
    Stop { instance: String, done: oneshot::Sender<()> },
    Tidy,
    StopAll { leave: bool, done: oneshot::Sender<()> },
}

/// The databases of this process.
pub(crate) struct Databases {
    commands: mpsc::UnboundedSender<Command>,
}

/// A server's task.
struct Running {
    /// Says whether its folder goes too.
    stop: oneshot::Sender<bool>,
    task: JoinHandle<()>,
}

impl Databases {
    /// Starts the supervisor; without a configuration it starts no servers and says so.
    pub fn start(config: Option<Config>, news: mpsc::UnboundedSender<News>) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        tokio::spawn(supervise(inbox, config, news));
        Self { commands }
    }

    /// Starts the servers that `effects` ask for; does not wait for them.
    pub fn start_all(&self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::StartDatabase(view) = effect {
                let _at_the_end = self.commands.send(Command::Start(view.clone()));
            }
        }
    }

    /// Ends the servers that `effects` do away with; each of what it returns comes when one is gone.
    pub fn stop_all(&self, effects: &[Effect]) -> Vec<oneshot::Receiver<()>> {
        let stop = |effect: &Effect| {
            let Effect::StopDatabase { instance } = effect else { return None };
            let (done, ended) = oneshot::channel();
            let _at_the_end =
                self.commands.send(Command::Stop { instance: instance.clone(), done });
            Some(ended)
        };
        effects.iter().filter_map(stop).collect()
    }

    /// Every database of the records was started: what is left of others goes.
    pub fn tidy(&self) {
        let _at_the_end = self.commands.send(Command::Tidy);
    }

    /// Ends the supervisor and every server, but with `leave` those that outlive the process; returns
    /// when they are gone.
    pub async fn shutdown(&self, leave: bool) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::StopAll { leave, done }).is_ok() {
            let _gone = ended.await;
        }
    }
}

async fn supervise(
    mut inbox: mpsc::UnboundedReceiver<Command>,
    config: Option<Config>,
    news: mpsc::UnboundedSender<News>,
) {
    let config = config.as_ref();
    if let Some(config) = config.filter(|config| !config.keep) {
        // Left by a process of our name that was killed; the namespaces are ours now.
        let _absent = std::fs::remove_dir_all(&config.folder);
    }
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    while let Some(command) = inbox.recv().await {
        match (command, config) {
            (Command::Start(view), None) => {
                let _nobody_listens = news.send((view.region, view.instance, Status::Stopped));
            }
            (Command::Start(view), Some(config)) => {
                // Only where an effect is taken back: the server that was to go stays.
                if let Some(server) = running.remove(&view.instance) {
                    end(server, false).await;
                }
                let (stop, stopped) = oneshot::channel();
                let instance = view.instance.clone();
                let task = server::run(config.clone(), view, stopped, news.clone());
                running.insert(instance, Running { stop, task: tokio::spawn(task) });
            }
            (Command::Stop { instance, done }, _) => {
                if let Some(server) = running.remove(&instance) {
                    end(server, true).await;
                }
                let _nobody_waits = done.send(());
            }
            (Command::Tidy, Some(config)) if config.keep => {
                for instance in folders(config).filter(|name| !running.contains_key(name)) {
                    tracing::info!(instance, "removed a database that no record names");
                    server::remove_leftover(config, &instance).await;
                }
            }
            (Command::Tidy, _) => {}
            (Command::StopAll { leave: true, done }, Some(config)) if config.keep => {
                for (_, server) in std::mem::take(&mut running) {
                    // The child is not killed with its task; what makes files is, and begins again.
                    server.task.abort();
                    let _aborted = server.task.await;
                }
                let _nobody_waits = done.send(());
                return;
            }
            (Command::StopAll { done, .. }, _) => {
                for (_, server) in std::mem::take(&mut running) {
                    end(server, config.is_none_or(|config| !config.keep)).await;
                }
                // Empty now; absent if there never was a database.
                let _absent = config.map(|config| std::fs::remove_dir(&config.folder));
                let _nobody_waits = done.send(());
                return;
            }
        }
    }
}

/// Names of the databases that have a folder.
fn folders(config: &Config) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(&config.folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Ends a server, and with `remove` its data.
async fn end(server: Running, remove: bool) {
    let _ended_already = server.stop.send(remove);
    if let Err(error) = server.task.await {
        tracing::error!(%error, "a database's task ended badly");
    }
}
