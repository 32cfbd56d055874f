//! Containers: what to run, and one that runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Output;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::Value;

use super::engine::Engine;
use super::image::{IMAGE, SERVER};
use crate::lab::wait::wait_until;

/// How long a container may take to be as it shall be.
const SOON: Duration = Duration::from_secs(10);

/// What to run: a container of [`IMAGE`], whose host name is its name.
#[derive(Debug, Clone)]
pub struct Run {
    name: String,
    networks: Vec<String>,
    options: Vec<String>,
    words: Vec<String>,
}

impl Run {
    /// The lab's server: TCP on [`crate::lab::HTTP_PORT`], UDP on [`crate::lab::UDP_PORT`].
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), networks: vec![], options: vec![], words: vec![] }
    }

    /// A label.
    #[must_use]
    pub fn label(self, key: &str, value: &str) -> Self {
        self.option("--label", &format!("{key}={value}"))
    }

    /// A network to be on, instead of `bridge`; the first is the one of its default route.
    #[must_use]
    pub fn network(mut self, name: &str) -> Self {
        self.networks.push(name.to_owned());
        self
    }

    /// A published port: `127.0.0.1:8080:80/udp`.
    #[must_use]
    pub fn publish(self, port: &str) -> Self {
        self.option("--publish", port)
    }

    /// A health check every 200 ms: healthy unless there is a file `/tmp/sick` ([`Container::fall_ill`]).
    #[must_use]
    pub fn health_check(self) -> Self {
        self.option("--health-cmd", &format!("{SERVER} check"))
            .option("--health-interval", "200ms")
            .option("--health-timeout", "2s")
            .option("--health-retries", "1")
    }

    /// Another option of `docker run`.
    #[must_use]
    pub fn option(mut self, option: &str, value: &str) -> Self {
        self.options.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// Runs the server with these words instead of `serve`.
    #[must_use]
    pub fn words(mut self, words: &[&str]) -> Self {
        self.words = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["--name", &self.name, "--hostname", &self.name];
        if let Some(first) = self.networks.first() {
            arguments.extend(["--network", first]);
        }
        arguments.extend(self.options.iter().map(String::as_str));
        arguments.push(IMAGE);
        arguments.extend(self.words.iter().map(String::as_str));
        arguments
    }
}

/// A container. It stays until it is removed, or the lab goes.
#[derive(Debug)]
pub struct Container<'a> {
    engine: &'a Engine,
    /// Its name.
    pub name: String,
    /// Its id, 64 hex digits.
    pub id: String,
}

impl Engine {
    /// Makes a container and starts it. When this returns its process runs, which is not to say that it listens.
    pub fn run(&self, what: &Run) -> Result<Container<'_>> {
        if what.networks.len() < 2 {
            let id = self.cli(&[&["run", "--detach"], &what.arguments()[..]].concat())?;
            return Ok(Container { engine: self, name: what.name.clone(), id });
        }
        let container = self.create(what)?;
        container.start()?;
        Ok(container)
    }

    /// Makes a container that does not run yet.
    pub fn create(&self, what: &Run) -> Result<Container<'_>> {
        let id = self.cli(&[&["create"], &what.arguments()[..]].concat())?;
        what.networks.iter().skip(1).try_for_each(|network| self.connect(network, &id))?;
        Ok(Container { engine: self, name: what.name.clone(), id })
    }

    /// A container that is there.
    pub fn container(&self, name: &str) -> Result<Container<'_>> {
        let shown = self.inspect(name)?;
        let id = shown["Id"].as_str().with_context(|| format!("{name} has no id: {shown}"))?.to_owned();
        Ok(Container { engine: self, name: name.to_owned(), id })
    }
}

impl Container<'_> {
    /// `docker inspect`.
    pub fn inspect(&self) -> Result<Value> {
        self.engine.inspect(&self.id)
    }

    /// Starts it.
    pub fn start(&self) -> Result<()> {
        self.verb("start", &[])
    }

    /// Its stop signal, and SIGKILL when it has not ended this many seconds later. Waits.
    pub fn stop(&self, grace_s: u32) -> Result<()> {
        self.verb("stop", &["--time", &grace_s.to_string()])
    }

    /// SIGKILL.
    pub fn kill(&self) -> Result<()> {
        self.verb("kill", &[])
    }

    /// Stops it where it is.
    pub fn pause(&self) -> Result<()> {
        self.verb("pause", &[])
    }

    /// Lets it go on.
    pub fn unpause(&self) -> Result<()> {
        self.verb("unpause", &[])
    }

    /// Removes it, by force.
    pub fn remove(&self) -> Result<()> {
        self.verb("rm", &["--force"])
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: &str) -> Result<()> {
        self.engine.cli(&["rename", &self.id, name])?;
        name.clone_into(&mut self.name);
        Ok(())
    }

    fn verb(&self, verb: &str, options: &[&str]) -> Result<()> {
        self.engine.cli(&[&[verb], options, &[&self.id]].concat()).map(drop)
    }

    /// Makes its health check fail, or succeed again, and waits until the engine says so.
    pub fn fall_ill(&self, ill: bool) -> Result<()> {
        self.exec(&[if ill { "touch" } else { "rm" }, "/tmp/sick"])?;
        self.await_health(if ill { "unhealthy" } else { "healthy" })
    }

    /// Waits until the engine says this of its health: `starting`, `healthy`, `unhealthy`.
    pub fn await_health(&self, health: &str) -> Result<()> {
        let is = || self.inspect().is_ok_and(|shown| shown["State"]["Health"]["Status"] == health).then_some(());
        wait_until(&format!("{} to be {health}", self.name), SOON, is).map_err(Into::into)
    }

    /// Runs a command in it: what it wrote, without the last line's end.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        self.engine.cli(&[&["exec", &self.id], words].concat())
    }

    /// The same, however it ends.
    pub fn exec_output(&self, words: &[&str]) -> Result<Output> {
        self.engine.cli_output(&[&["exec", &self.id], words].concat())
    }

    /// So many requests from inside it, each on a connection of its own; the names of those who answered.
    pub fn get(&self, url: &str, count: usize) -> Result<Vec<String>> {
        self.ask(&["get", url, "--count", &count.to_string()])
    }

    /// So many datagrams from inside it, each from a socket of its own; the names of those who answered.
    pub fn udp(&self, server: &str, count: usize) -> Result<Vec<String>> {
        self.ask(&["udp", server, "--count", &count.to_string()])
    }

    fn ask(&self, words: &[&str]) -> Result<Vec<String>> {
        let said = self.exec(&[&[SERVER], words].concat())?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// Its IPv4 address on a network.
    pub fn v4(&self, network: &str) -> Result<Ipv4Addr> {
        self.address(network, "IPAddress")
    }

    /// Its IPv6 address on a network.
    pub fn v6(&self, network: &str) -> Result<Ipv6Addr> {
        self.address(network, "GlobalIPv6Address")
    }

    /// Both, the IPv4 one first.
    pub fn addresses(&self, network: &str) -> Result<[IpAddr; 2]> {
        Ok([self.v4(network)?.into(), self.v6(network)?.into()])
    }

    fn address<T: std::str::FromStr>(&self, network: &str, key: &str) -> Result<T> {
        let shown = self.inspect()?;
        let text = shown["NetworkSettings"]["Networks"][network][key].as_str().unwrap_or_default();
        text.parse().ok().with_context(|| format!("{} has {text:?} as {key} on {network}", self.name))
    }

    /// When its process was started, by the engine.
    pub fn started_at(&self) -> Result<SystemTime> {
        let shown = self.inspect()?;
        let text = shown["State"]["StartedAt"].as_str().unwrap_or_default();
        parse_time(text).with_context(|| format!("{} was started at {text:?}", self.name))
    }
}

/// A time as the engine writes it: `2026-05-09T07:29:33.123456789Z` (RFC 3339, UTC, any number of decimals).
fn parse_time(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| text.split(by).map(|part| part.parse().ok()).collect::<Option<Vec<i64>>>();
    let (clock, decimals) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let [hour, minute, second] = numbers(clock, ':')?[..] else { return None };
    // Days from the civil calendar, with the year begun in March, so that the leap day is its last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()?;
    let nanos = format!("{decimals:0<9}").get(..9)?.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_time_is_read() {
        let seconds = |text: &str| {
            parse_time(text).map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64())
        };
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds("2024-02-29T12:30:15.25Z"), Some(1_709_209_815.25));
        assert_eq!(seconds("2026-11-23T06:42:40.123456789Z").map(f64::floor), Some(1_795_416_160.0));
        assert_eq!(seconds("yesterday"), None);
    }
}
