//go:build unix

package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// childDescriptors is the limit of open files of the child process. It is less than the bursts need.
const childDescriptors = 256

func init() {
	childJobs["few-descriptors"] = func() { fewDescriptors(engine.Config{}) }
	childJobs["no-descriptors"] = noDescriptors
	childJobs["few-descriptors-no-limit"] = func() { fewDescriptors(engine.Config{Accept: engine.Accept{MaxConnections: -1}}) }
}

// fewDescriptors is a server with few descriptors. It prints its address, then, for each line that it reads, how many
// connections it has; when its input ends it stops and prints whether accepting ever failed, and what Run returned.
func fewDescriptors(cfg engine.Config) {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: childDescriptors, Max: childDescriptors}); err != nil {
		fmt.Println(err)
		return
	}
	core, logs := observer.New(zap.WarnLevel)
	cfg.Logger = zap.New(core)
	e := newEcho(cfg)
	if err := e.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	fmt.Println(e.Addrs()[0])
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		select {
		case err := <-ended:
			fmt.Println("Run ended by itself:", err)
			return
		default:
			fmt.Println(e.Stats().Conns.Open)
		}
	}
	stop()
	err := <-ended
	fmt.Println(logs.FilterMessageSnippet("accepting failed").Len() > 0)
	fmt.Println("Run returned", err)
}

// child is another process of this test binary.
type child struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t *testing.T, job string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childJob+"="+job)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child process: %v", err)
		}
		timer.Stop()
	})
	return &child{t, in, bufio.NewReader(out)}
}

func (c *child) line() string {
	c.t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the child process: %v", err)
	}
	return strings.TrimSpace(s)
}

// connections asks the child how many connections it has.
func (c *child) connections() string {
	c.t.Helper()
	if _, err := io.WriteString(c.in, "?\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.line()
}

// Rule 15: running out of descriptors does not end the engine, as it ends gnet's own acceptor. It serves the connections
// it has, and accepts others when there is room again. A connection that did not get to an event loop keeps no place,
// though gnet's Enroll reports success.
func TestRunningOutOfDescriptorsDoesNotEndTheEngine(t *testing.T) {
	for _, job := range []string{"few-descriptors", "few-descriptors-no-limit"} {
		t.Run(job, func(t *testing.T) {
			server := startChild(t, job)
			addr := server.line()
			first := dial(t, addr)
			first.ask(1, 1, "")
			for burst := range 3 {
				// The backlog takes what cannot be accepted.
				conns := make([]net.Conn, 0, 3*childDescriptors)
				for range cap(conns) {
					nc, err := net.DialTimeout("tcp", addr, patience)
					if err != nil {
						t.Fatal(err)
					}
					conns = append(conns, nc)
				}
				first.ask(1, uint32(burst+2), "still here")
				served := 0
				for _, nc := range conns[:childDescriptors/4] { // the first to come are surely in
					p := &peer{Conn: nc, t: t, codec: protocol.Binary}
					p.send(protocol.Message{Type: 1, ID: 1})
					if m, err := p.next(); err == nil && m.Type == 1 {
						served++
					}
				}
				if served == 0 {
					t.Errorf("burst %d: nobody was served", burst)
				}
				for _, nc := range conns {
					_ = nc.Close()
				}
				eventually(t, "the end of the burst's connections", func() bool { return server.connections() == "1" })
				again := dial(t, addr)
				again.ask(1, 1, "recovered")
				_ = again.Close()
			}
			_ = first.Close()
			_ = server.in.Close()
			if got := server.line(); got != "true" && job == "few-descriptors-no-limit" {
				t.Error("the bursts were too small: accepting never failed")
			}
			if got := server.line(); got != "Run returned <nil>" {
				t.Errorf("the child process: %s", got)
			}
		})
	}
}

func openDescriptors() int {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		fmt.Println(err)
	}
	return len(entries)
}

// noDescriptors runs engines that find fewer descriptors than they need, from none on, and prints what it does not like.
func noDescriptors() {
	ignore := goleak.IgnoreCurrent()
	refused, open := 0, 0
	for spare := range 16 {
		e := newEcho(engine.Config{Loops: 1, Workers: 1})
		if err := e.Listen(); err != nil {
			fmt.Println(err)
		}
		next, err := syscall.Dup(1) // the lowest that is free
		if err != nil {
			fmt.Println(err)
		}
		_ = syscall.Close(next)
		var old syscall.Rlimit
		_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old)
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(next + spare), Max: old.Max})
		ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
		err = e.Run(ctx)
		stop()
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)
		if err != nil {
			refused++
		}
		if err := goleak.Find(ignore); err != nil {
			fmt.Printf("with %d descriptors to spare: %v\n", spare, err)
			return
		}
		if n := openDescriptors(); spare > 0 && n > open {
			fmt.Printf("with %d descriptors to spare %d stayed open\n", spare, n-open)
			return
		}
		open = openDescriptors() // the first engine brings in what the process keeps
	}
	if refused == 0 || refused == 16 {
		fmt.Println(refused, "of 16 engines refused to run")
	}
	fmt.Println("done")
}

// An engine that cannot have its event loops says so, and leaves nothing behind.
func TestRunWithoutDescriptorsIsAnError(t *testing.T) {
	c := startChild(t, "no-descriptors")
	if got := c.line(); got != "done" {
		t.Error(got)
	}
	_, _ = io.Copy(os.Stderr, c.out)
}
