//! `PostgreSQL` with `PostGIS` from Debian, in a cluster made for the bench alone. Never uses a cluster that is there already.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, Statement};

use super::process::{Process, free_port};

/// What is set; everything else is as initdb leaves it, so fsync and `synchronous_commit` are on.
pub(crate) const SETTINGS: [&str; 2] = ["shared_buffers=1GB", "max_connections=200"];
const READY_WITHIN: Duration = Duration::from_mins(1);
const SCHEMA: &str = "CREATE EXTENSION postgis;
    CREATE TABLE positions (id text PRIMARY KEY, place geometry(Point, 4326) NOT NULL);
    CREATE INDEX positions_place ON positions USING gist (place);";
const UPSERT: &str = "INSERT INTO positions (id, place)
    SELECT id, ST_SetSRID(ST_MakePoint(lng, lat), 4326) FROM unnest($1::text[], $2::float8[], $3::float8[]) AS sent (id, lng, lat)
    ON CONFLICT (id) DO UPDATE SET place = EXCLUDED.place";
const UPSERT_ONE: &str = "INSERT INTO positions (id, place) VALUES ($1::text, ST_SetSRID(ST_MakePoint($2::float8, $3::float8), 4326))
    ON CONFLICT (id) DO UPDATE SET place = EXCLUDED.place";
const SELECT: &str = "SELECT id, ST_X(place), ST_Y(place) FROM positions WHERE place && ST_MakeEnvelope($1, $2, $3, $4, 4326)";

#[derive(Debug)]
pub(crate) struct Postgis {
    pub(crate) process: Process,
    port: u16,
    pub(crate) version: String,
    _folder: tempfile::TempDir,
}

impl Postgis {
    /// The newest `PostgreSQL` here that has `PostGIS`.
    pub(crate) async fn start() -> Result<Self, String> {
        let mut reason = "no PostgreSQL server is here (Debian: apt-get install postgresql-15 postgresql-15-postgis-3)".to_owned();
        for programs in installed() {
            match Self::start_from(&programs).await {
                Ok(postgis) => return Ok(postgis),
                Err(error) => reason = format!("{}: {error}", programs.display()),
            }
        }
        Err(reason)
    }

    async fn start_from(programs: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let account = Account::unprivileged(folder.path())?;
        let data = folder.path().join("data");
        let mut initdb = Command::new(programs.join("initdb"));
        initdb.arg("-D").arg(&data).args(["--username=bench", "--auth=trust", "--encoding=UTF8", "--no-locale"]);
        let made = account.runs(&mut initdb).current_dir(folder.path()).output().map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        let port = free_port();
        let mut server = Command::new(programs.join("postgres"));
        server.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(folder.path());
        server.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let log = fs::File::create(folder.path().join("postgres.log")).map_err(|error| error.to_string())?;
        let server = account.runs(&mut server).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = server.spawn().map_err(|error| error.to_string())?;
        // SIGQUIT ends its children with it and syncs nothing: the folder goes anyway.
        let process = Process::new(child, Signal::QUIT);
        let mut postgis = Self { process, port, version: String::new(), _folder: folder };
        let (client, _connection) = postgis.ready().await?;
        client.batch_execute(SCHEMA).await.map_err(told)?;
        let row = client.query_one("SELECT current_setting('server_version'), PostGIS_Lib_Version()", &[]).await.map_err(told)?;
        postgis.version = format!("PostgreSQL {}, PostGIS {}", row.get::<_, String>(0), row.get::<_, String>(1));
        Ok(postgis)
    }

    async fn ready(&mut self) -> Result<(Client, JoinSet<()>), String> {
        let started = Instant::now();
        loop {
            match self.connect().await {
                Ok(connected) => return Ok(connected),
                Err(error) if started.elapsed() > READY_WITHIN => return Err(error),
                Err(_) => {}
            }
            if let Some(ended) = self.process.ended() {
                return Err(format!("postgres ended: {ended}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A connection and the task that drives it, which ends with what is returned.
    pub(crate) async fn connect(&self) -> Result<(Client, JoinSet<()>), String> {
        let address = format!("host=127.0.0.1 port={} user=bench dbname=postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await.map_err(told)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok((client, driver))
    }

    /// How many positions it holds.
    pub(crate) async fn count(&self) -> Result<u64, String> {
        let (client, _driver) = self.connect().await?;
        let row = client.query_one("SELECT count(*) FROM positions", &[]).await.map_err(told)?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// After a load: statistics and visibility as they would be a while later.
    pub(crate) async fn vacuum(&self) -> Result<(), String> {
        let (client, _driver) = self.connect().await?;
        client.batch_execute("VACUUM ANALYZE positions").await.map_err(told)
    }
}

/// One connection with its prepared statements.
pub(crate) struct Session {
    client: Client,
    _driver: JoinSet<()>,
    upsert: Statement,
    upsert_one: Statement,
    select: Statement,
}

/// Positions to be written in one statement.
#[derive(Debug)]
pub(crate) struct Positions {
    pub(crate) ids: Vec<String>,
    pub(crate) lngs: Vec<f64>,
    pub(crate) lats: Vec<f64>,
}

impl Session {
    pub(crate) async fn open(postgis: &Postgis) -> Result<Self, String> {
        let (client, driver) = postgis.connect().await?;
        let upsert = client.prepare(UPSERT).await.map_err(told)?;
        let upsert_one = client.prepare(UPSERT_ONE).await.map_err(told)?;
        let select = client.prepare(SELECT).await.map_err(told)?;
        Ok(Self { client, _driver: driver, upsert, upsert_one, select })
    }

    /// How many rows were written.
    pub(crate) async fn upsert(&self, positions: &Positions) -> Result<u64, String> {
        let Positions { ids, lngs, lats } = positions;
        let written = match (ids.as_slice(), lngs.as_slice(), lats.as_slice()) {
            ([id], [lng], [lat]) => self.client.execute(&self.upsert_one, &[id, lng, lat]).await,
            _ => self.client.execute(&self.upsert, &[ids, lngs, lats]).await,
        };
        written.map_err(told)
    }

    /// Ids and places in a box in degrees.
    pub(crate) async fn select(&self, [west, south, east, north]: &[f64; 4]) -> Result<Vec<tokio_postgres::Row>, String> {
        self.client.query(&self.select, &[west, south, east, north]).await.map_err(told)
    }
}

/// Who may run a server: `PostgreSQL` refuses root.
struct Account {
    ids: Option<(u32, u32)>,
}

impl Account {
    /// Ours, or `postgres` or else `nobody` for root; the folder becomes that account's.
    fn unprivileged(folder: &Path) -> Result<Self, String> {
        if !rustix::process::getuid().is_root() {
            return Ok(Self { ids: None });
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
        let ids = ["postgres", "nobody"].iter().find_map(|name| {
            let fields: Vec<&str> = passwd.lines().map(|line| line.split(':').collect()).find(|fields: &Vec<&str>| fields.first() == Some(name))?;
            Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
        });
        let (user, group) = ids.ok_or("no account that is not root")?;
        chown(folder, Some(user), Some(group)).map_err(|error| error.to_string())?;
        Ok(Self { ids: Some((user, group)) })
    }

    fn runs<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Folders with a `PostgreSQL` server, Debian's newest first.
fn installed() -> Vec<PathBuf> {
    let mut versions: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    let number = |path: &PathBuf| path.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.sort_by_key(|path| std::cmp::Reverse(number(path)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find_map(|folder| folder.join("postgres").canonicalize().ok()?.parent().map(Path::to_path_buf));
    versions.extend(found);
    versions.dedup();
    versions.retain(|programs| programs.join("initdb").is_file() && programs.join("postgres").is_file());
    versions
}

/// With what the server said: the library's own text is "db error".
#[expect(clippy::needless_pass_by_value, reason = "`map_err` gives it away")]
fn told(error: tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |refused| refused.message().to_owned())
}
