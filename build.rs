//! Builds the web page of `web/` into `OUT_DIR` and lists its files for `src/api/assets.rs`.
//!
//! Nothing is written into the source tree. `S3DELTA_WEB=off` skips the build; `S3DELTA_WEB=require` makes its failure
//! an error; otherwise a failure is a warning and a page that says what to do takes the place of the web page.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the page is made of; the rest of `web/` (tests, scripts, node_modules) does not reach the build.
const SOURCES: [&str; 6] =
    ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=S3DELTA_WEB");
    let web = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("web");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("web");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", web.join(source).display());
    }
    let mode = env::var("S3DELTA_WEB").unwrap_or_default();
    let built = match mode.as_str() {
        "off" => Err("S3DELTA_WEB=off was set when it was built".to_string()),
        "" | "auto" | "require" => build(&web, &out),
        _ => return println!("cargo::error=S3DELTA_WEB={mode} is not known: use off, auto or require"),
    };
    let files = match built {
        Ok(files) => files,
        Err(reason) if mode == "require" => {
            return reason.lines().for_each(|line| println!("cargo::error={line}"));
        }
        Err(reason) => {
            if mode != "off" {
                for line in reason.lines() {
                    println!("cargo::warning={line}");
                }
                println!(
                    "cargo::warning=s3delta works without the web page, which was not built. With Node 20.19 or later, \
                     `S3DELTA_WEB=require cargo build --release` tries again"
                );
            }
            fallback(&out, &reason).expect("OUT_DIR is writable")
        }
    };
    list(&out, &files).expect("OUT_DIR is writable");
}

/// Copies the sources, installs the locked packages and runs Vite; returns the files below `out/dist`.
fn build(web: &Path, out: &Path) -> Result<Vec<String>, String> {
    let io = |what: &str| {
        let what = what.to_string();
        move |error: io::Error| format!("cannot {what}: {error}")
    };
    fs::create_dir_all(out).map_err(io("create the build folder"))?;
    for source in SOURCES {
        replace(&web.join(source), &out.join(source)).map_err(io(&format!("copy web/{source}")))?;
    }
    let lock = fs::read(web.join("package-lock.json")).map_err(io("read web/package-lock.json"))?;
    // npm's own record of a finished install cannot be trusted after a build that was killed half-way.
    let stamp = out.join("installed.lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        println!("the locked packages are installed");
    } else {
        let arguments = ["ci", "--ignore-scripts", "--omit=dev", "--prefer-offline", "--no-audit", "--no-fund"];
        run(out, "npm", &[&arguments[..], &["--fetch-retries=1"]].concat())?;
        fs::write(&stamp, lock).map_err(io("write to OUT_DIR"))?;
    }
    let dist = out.join("dist");
    remove(&dist).map_err(io("clear the last build"))?;
    run(out, "npx", &["--no-install", "vite", "build", "--logLevel", "warn"])?;
    let mut files = Vec::new();
    walk(&dist, "", &mut files).map_err(io("read the built page"))?;
    if files.iter().any(|file| file == "/index.html") { Ok(files) } else { Err("Vite made no index.html".into()) }
}

/// Runs a command of Node; the error carries the telling lines of what it printed.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let file = if cfg!(windows) { format!("{program}.cmd") } else { program.to_string() };
    let command = format!("{program} {}", arguments.join(" "));
    let output = Command::new(file)
        .args(arguments)
        .current_dir(folder)
        .env("NODE_ENV", "production")
        .env("npm_config_update_notifier", "false")
        .output()
        .map_err(|error| format!("cannot run `{command}`: {error}. Is Node installed and on the PATH?"))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    let telling = |line: &&str| !line.trim().is_empty() && !line.contains("    at ") && !line.starts_with("npm warn");
    let lines: Vec<_> = printed.lines().filter(telling).take(12).collect();
    Err(format!("`{command}` failed ({}):\n{}", output.status, lines.join("\n")))
}

/// A page that says why there is no web page and how to get one.
fn fallback(out: &Path, reason: &str) -> io::Result<Vec<String>> {
    let dist = out.join("dist");
    remove(&dist)?;
    fs::create_dir_all(&dist)?;
    let reason = reason.replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>s3delta</title>\n\
         <h1>s3delta runs; its web page was not built</h1>\n<pre>{reason}</pre>\n\
         <p>To get the page, install Node 20.19 or later and build again where the package registry can be reached:</p>\n\
         <pre>S3DELTA_WEB=require cargo build --release</pre>\n\
         <p>The HTTP interface works without it: <a href=\"/openapi.json\">its description</a>, \
         <a href=\"/v1/structures\">structures</a>, <a href=\"/v1/adapters\">adapters</a>, \
         <a href=\"/v1/jobs\">jobs</a>, <a href=\"/v1/tasks\">tasks</a>.</p>\n</html>\n"
    );
    fs::write(dist.join("index.html"), page)?;
    Ok(vec!["/index.html".into()])
}

/// Writes the Rust list of the files, sorted by path.
fn list(out: &Path, files: &[String]) -> io::Result<()> {
    let mut code = String::from("[\n");
    for file in files {
        let path = out.join("dist").join(&file[1..]);
        let hash = fnv1a(&fs::read(&path)?);
        let path = path.to_string_lossy().into_owned();
        let kind = content_type(file);
        let _ = writeln!(
            code,
            "    Asset {{ path: {file:?}, content_type: {kind:?}, etag: \"\\\"{hash:016x}\\\"\", \
             bytes: include_bytes!({path:?}) }},"
        );
    }
    code.push_str("]\n");
    fs::write(out.join("assets.rs"), code)
}

fn content_type(file: &str) -> &'static str {
    match file.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// FNV-1a, 64 bits: names a version of a file, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Copies a file or a folder over whatever is at `to`.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    remove(to)?;
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        replace(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Lists the files below `folder` as `/path`, sorted.
fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() { walk(&entry.path(), &name, files)? } else { files.push(name) }
    }
    Ok(())
}
