//go:build linux

package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/bench/internal/process"
)

// build makes the programs that are measured.
func (b *bench) build() error {
	if err := goBuild(".", "-o", b.dir, "./cmd/server", "./cmd/users", "./cmd/nodes"); err != nil {
		return err
	}
	if err := b.buildEcho(); err != nil {
		return err
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		b.noC = "There is no C compiler here, so the C server is missing."
		return nil
	}
	if out, err := exec.Command(cc, "-O2", "-o", b.program("epoll"), "epoll.c").CombinedOutput(); err != nil {
		b.noC = "The C server could not be built here, and is missing."
		fmt.Fprintf(os.Stderr, "bench: %v: %s\n", err, out)
	}
	return nil
}

// buildEcho builds examples/echo with one file added, which frees memory at a signal.
func (b *bench) buildEcho() error { return b.buildEchoOf("..") }

// buildEchoOf is buildEcho for a checkout.
func (b *bench) buildEchoOf(checkout string) error {
	src, err := os.ReadFile(filepath.Join("internal", "freemem", "freemem.go"))
	if err != nil {
		return err
	}
	extra := filepath.Join(b.dir, "freemem.go")
	src = []byte(strings.Replace(string(src), "package freemem\n", "package main\n", 1))
	if err := os.WriteFile(extra, src, 0o600); err != nil {
		return err
	}
	in, err := filepath.Abs(filepath.Join(checkout, "examples", "echo", "freemem.go"))
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{in: extra}})
	if err != nil {
		return err
	}
	list := filepath.Join(b.dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return err
	}
	return goBuild(checkout, "-overlay", list, "-o", b.program("echo"), "./examples/echo")
}

func goBuild(dir string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (b *bench) program(name string) string { return filepath.Join(b.dir, name) }

// head is how the document begins: what was measured, where, and how to do it again.
func (b *bench) head() string {
	return fmt.Sprintf(`# Benchmarks

What Rollcall costs over gnet alone, and how it compares with what else one could take. The program in `+"`bench/`"+` measures
all this and writes this page; do not edit it. On a quiet machine with Linux and two processors or more:

	make bench                                       # everything
	cd bench && go run ./cmd/bench -short            # rough figures in three minutes; nothing is written
	cd bench && go run ./cmd/bench -only echo,push   # some of the tables; the others stay as they are
	cd bench && go run ./cmd/bench -only before -before DIR   # beside an earlier version, of which DIR is a checkout

Versions: %s. Each table says on which machine it was measured, and when.

The servers, each a process of its own on one processor; the load generator, one thread that polls non-blocking sockets,
has another. All speak over loopback.

| name | what it is |
|---|---|
| raw gnet | gnet sending back the bytes that come: the ceiling of every program on gnet |
| by hand | the baseline: gnet with Rollcall's frames parsed and answered by hand, one write for all that a read brought, no users |
| by hand, again | the same in a second process: how far its ratio is from 1 is the noise |
| minimal | what Rollcall does, on gnet and the standard library alone (`+"`bench/internal/minimal`"+`): messages, handlers by type, users bound, found, pushed out and watched, counters, limits, panics contained; without settings, authenticator, events and workers. Where it misses a target too, it is the work that costs so much, not Rollcall |
| Rollcall | examples/echo: users bound, statistics, heartbeat, and every event subscribed to |
| C epoll | the bytes sent back by C on epoll: the limit of the machine |
| nbio | nbio sending back the bytes that come |
| net | the standard library: a goroutine and two buffers of 4 KiB a connection, Rollcall's frames |
| zinx | zinx with its own frames, its defaults, and its log off |

Runs of the servers alternate (A B C, C B A, A B C …). A ratio is that of two runs of one round, given as the median of all
rounds with the quartiles in brackets. CPU time is the server's own (user + system), which is steadier than its rate. A
server or a generator that uses its processor to 95 %% or more is what limits the rate. The targets are Rollcall's; minimal is
held against them too.`,
		b.versions())
}

// beginning is the time at which a table was begun, and the machine's processor time until then.
type beginning struct {
	time       time.Time
	busy, used time.Duration
}

func startOfTable() beginning {
	return beginning{time.Now(), process.Busy(), process.Used()}
}

// provenance says when a table was made, with how many runs, and how busy the machine was besides.
func (b *bench) provenance(began beginning) string {
	rounds, rough := "", ""
	if b.rounds > 0 {
		rounds = fmt.Sprintf(", by %d rounds", b.rounds)
	}
	if b.short {
		rough = " These are rough figures (-short)."
	}
	took := time.Since(began.time)
	others := process.Busy() - began.busy - (process.Used() - began.used)
	return fmt.Sprintf("Measured on %s at %s (%s, %d processors, Linux %s), in %v%s. Meanwhile other work took %.0f %% of the machine.%s",
		began.time.Format("2006-01-02"), b.commit, processor(), runtime.NumCPU(), kernel(), took.Round(time.Second), rounds,
		100*max(others.Seconds(), 0)/took.Seconds()/float64(runtime.NumCPU()), rough)
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty=, with changes").Output()
	if err != nil {
		return "an unknown commit"
	}
	return "commit " + strings.TrimSpace(string(out))
}

// versions returns the versions with which the measured programs were built.
func (b *bench) versions() string {
	info, err := buildinfo.ReadFile(b.program("server"))
	if err != nil {
		return "unknown"
	}
	versions := []string{"Go " + strings.TrimPrefix(info.GoVersion, "go")}
	for _, dep := range info.Deps {
		switch dep.Path {
		case "github.com/panjf2000/gnet/v2", "github.com/aceld/zinx", "github.com/lesismal/nbio", "github.com/lxzan/gws":
			name := strings.TrimSuffix(dep.Path, "/v2")
			versions = append(versions, name[strings.LastIndexByte(name, '/')+1:]+" "+dep.Version)
		}
	}
	return strings.Join(versions, ", ")
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
