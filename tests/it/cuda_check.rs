//! The logic of `scripts/cuda_check.sh`, with stand-ins for vitx, its tests and NVIDIA's tools: no device is needed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// Steps take 3.2 ms, and 2.0 with regions; runs and sweeps leave their files, the same bits each time.
const VITX: &str = r#"
echo "vitx $*" >>"$CALLS"
regions=off output=''
for argument in "$@"; do
    [ "$before" = --regions ] && regions=$argument
    [ "$before" = --output ] && output=$argument
    before=$argument
done
case "$*" in
    *--help) echo "$OPTIONS" ;;
    *"--precision tf32"*) [ -z "$NO_TF32" ] && echo '{"ms_per_step":5.5,"ms_min":5.4}' ;;
    *--json*bench* | "bench step"*--json*)
        [ "$regions" = off ] && echo '{"ms_per_step":3.2,"ms_min":3.1}' || echo '{"ms_per_step":2.0,"ms_min":1.9}' ;;
    graph*) echo '{"batch":256,"precision":"bf16","calls":[{"kernel":"region","bytes":4800000,"flops":0}]}' ;;
    run*)
        [ -z "$FAIL_RUN" ] || { echo 'no such device'; exit 3; }
        mkdir -p "$output"
        echo bits >"$output/best.safetensors"
        printf 'epoch,loss,accuracy\n1,2.5,0.1\n2,2.0,0.2\n' >"$output/history.csv" ;;
    sweep*)
        mkdir -p "$output/trials/1"
        echo "${BITS-}$([ -z "${BITS-}" ] || echo $$)" >"$output/trials/1/best.safetensors" ;;
esac
"#;

/// A folder with the script, its stand-ins in `bin`, and no other tools than the system's.
struct Place(TempDir);

impl Place {
    fn new(tools: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["scripts", "bin"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        for script in ["cuda_check.sh", "roofline.py"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
            fs::copy(from, root.path().join("scripts").join(script)).unwrap();
        }
        let place = Self(root);
        place.tool("vitx", VITX);
        for (name, text) in tools {
            place.tool(name, text);
        }
        place
    }

    fn tool(&self, name: &str, text: &str) {
        let file = self.bin().join(name);
        fs::write(&file, format!("#!/bin/bash\n{text}")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn bin(&self) -> PathBuf {
        self.0.path().join("bin")
    }

    fn output(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join("out").join(file)).unwrap_or_default()
    }

    /// What vitx and the tools were called with.
    fn calls(&self) -> String {
        fs::read_to_string(self.0.path().join("calls")).unwrap_or_default()
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut command = Command::new(self.0.path().join("scripts/cuda_check.sh"));
        command.current_dir(self.0.path()).arg("--vitx").arg(self.bin().join("vitx")).args(["--output", "out"]);
        command.args(arguments).env_clear().env("PATH", format!("{}:/usr/bin:/bin", self.bin().display()));
        command.env("CALLS", self.0.path().join("calls")).env("OPTIONS", "--regions --pack");
        let Output { status, stdout, stderr } = command.envs(environment.iter().copied()).output().unwrap();
        (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    }
}

const TESTS: (&str, &str) =
    ("tests", "echo \"tests $VITX_KERNEL_TESTS $*\" >>\"$CALLS\"; echo 'test result: ok. 3 passed; 0 failed'");
/// Runs what it is given, after its own options.
const SANITIZER: (&str, &str) = (
    "compute-sanitizer",
    "echo \"sanitizer $*\" >>\"$CALLS\"; while [ \"${1##*/}\" != vitx ]; do shift; done; exec \"$@\"",
);
const NCU: (&str, &str) = ("ncu", "echo \"ncu $*\" >>\"$CALLS\"; echo 'region 120 us'");
const SMI: (&str, &str) = ("nvidia-smi", "echo 'NVIDIA H200, 580'");

#[test]
fn all_parts_run_and_predictions_stand_beside_outcomes() {
    let place = Place::new(&[TESTS, SANITIZER, NCU, SMI]);
    let tests = place.bin().join("tests");
    let peer = "echo \"peer $TORCHINDUCTOR_CACHE_DIR\" >>\"$CALLS\"; echo 'compiled 2.11: median ms/step 5.4 (5.3 .. 5.6), 9 img/s'";
    let given = ["--tests", tests.to_str().unwrap(), "--peer", peer, "--peer-cache", "inductor"];
    let (code, said) = place.run(&given, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("skipped: ") && said.contains("every check that ran passed"), "{said}");
    let outcomes = place.output("outcomes.tsv");
    for line in [
        "step bf16, regions off\t3.2 ms\t3.1 to 3.35\tas predicted",
        "step bf16, regions on\t2.0 ms\t1.6 to 2.1\tas predicted",
        "regions off by on\t1.60 times\t1.5 to 2\tas predicted",
        "peer by ours\t2.70 times\t2.6 to 3.3\tas predicted",
        "last loss with seed 2, on by off\t1.000 times",
        "throughput of 8 packed\t",
    ] {
        assert!(outcomes.contains(line), "{line} in {outcomes}");
    }
    // Predictions are those of the log.
    let log = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/log/cuda.md")).unwrap();
    for line in outcomes.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let unit = columns[1].split(' ').next_back().unwrap();
        let row = format!("| {} | {} {unit} |", columns[0], columns[2]);
        assert!(log.contains(&row), "{row} in docs/log/cuda.md");
    }
    let calls = place.calls();
    // In turns, and the peer with what its compiler has kept.
    let turns: Vec<&str> = calls.lines().filter(|line| line.contains("--precision bf16 --json")).collect();
    let turns: Vec<&str> = turns.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(turns, ["off", "on", "off", "on", "off", "on"]);
    assert!(calls.contains("peer ") && calls.contains("/inductor"), "{calls}");
    for part in ["tests device backend::cuda::kernels::attention --test-threads 1", "tests  backend::cuda::region"] {
        assert!(calls.contains(part), "{part} in {calls}");
    }
    for part in
        ["sanitizer --tool racecheck --kernel-name kns=region", "ncu --clock-control none", "--batch 2 --steps 1"]
    {
        assert!(calls.contains(part), "{part} in {calls}");
    }
}

#[test]
fn what_is_missing_is_skipped_with_a_reason() {
    let place = Place::new(&[]);
    let (code, said) = place.run(&[], &[("OPTIONS", "")]);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "skipped: kernels: there is no test binary: give --tests",
        "skipped: sanitizer: compute-sanitizer is not here",
        "skipped: steps with regions: this vitx knows no --regions",
        "skipped: ncu: ncu is not here",
        "skipped: peer: no --peer is given",
        "skipped: curves: this vitx knows no --regions",
        "skipped: packing: this vitx knows no --pack",
    ] {
        // Where it happens, and again at the end.
        assert_eq!(said.matches(line).count(), 2, "{line} in {said}");
    }
    assert!(!place.calls().contains("--regions"), "{}", place.calls());
}

#[test]
fn tests_that_did_not_run_have_not_passed() {
    let place = Place::new(&[("tests", "echo 'test result: ok. 0 passed; 0 failed; 4 ignored'")]);
    let tests = place.bin().join("tests");
    let (code, said) = place.run(&["--parts", "kernels", "--tests", tests.to_str().unwrap()], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("skipped: kernels reduce: the test binary has none that can run").count(), 2, "{said}");
    assert!(said.contains("skipped: regions on the device: "), "{said}");
}

#[test]
fn parts_run_one_by_one() {
    let place = Place::new(&[]);
    let (code, said) = place.run(&["--parts", "bits,steps"], &[]);
    assert_eq!(code, Some(0), "{said}");
    let calls = place.calls();
    assert!(calls.contains("vitx run experiments/digits_vit.yaml") && calls.contains("--precision bf16"), "{calls}");
    assert!(!calls.contains("sweep") && !calls.contains("tf32"), "{calls}");
    let (code, said) = place.run(&["--parts", "steps,nonsense"], &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no part `nonsense`; the parts are: kernels sanitizer"), "{said}");
}

#[test]
fn a_check_that_fails_fails_the_script_but_not_the_rest() {
    let place = Place::new(&[]);
    let (code, said) = place.run(&["--parts", "bits,steps"], &[("FAIL_RUN", "1")]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("FAILED (3), see ") && said.contains("no such device") && said.contains("\nFAILED: bits one\n"),
        "{said}"
    );
    assert!(said.contains("outcome: step bf16, regions on: 2.0 ms"), "{said}");
    // Other bits of packed trials are a failure.
    let (code, said) = place.run(&["--parts", "packing"], &[("BITS", "other")]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAILED: bits packed by 2"), "{said}");
}

#[test]
fn a_measurement_that_fails_is_said_to_be_missing() {
    let place = Place::new(&[]);
    let (code, said) = place.run(&["--parts", "precisions"], &[("NO_TF32", "1")]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("skipped: step tf32: it ended with status 1, see "), "{said}");
}

#[test]
fn what_finds_no_time_is_skipped() {
    let place = Place::new(&[]);
    let (code, said) = place.run(&["--seconds", "3"], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("no time is left of 3 s").count(), 20, "{said}");
    assert!(place.calls().lines().all(|call| call.contains("--help")), "{}", place.calls());
    // A command that does not end is ended, and the rest goes on.
    let tests = ("tests", "sleep 600");
    // A machine that takes two seconds to begin has more time.
    for (seconds, last) in [("7", false), ("30", true)] {
        let place = Place::new(&[tests]);
        let file = place.bin().join("tests");
        let (code, said) =
            place.run(&["--seconds", seconds, "--parts", "kernels,steps", "--tests", file.to_str().unwrap()], &[]);
        if code == Some(0) && !last {
            continue;
        }
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("FAILED: not done in its time"), "{said}");
        assert!(said.contains(&format!("skipped: steps: no time is left of {seconds} s")), "{said}");
        break;
    }
}
