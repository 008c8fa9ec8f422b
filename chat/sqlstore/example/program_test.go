//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// program is the example, as a process.
type program struct {
	cmd            *exec.Cmd
	stdout, stderr testkit.Output
	exited         chan struct{}
}

// asProgram is the environment variable that makes the test's program the example.
const asProgram = "ROLLCALL_CHAT_EXAMPLE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(pgtest.Main(m))
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// start starts the example, on a free port, and waits until it listens.
func start(t *testing.T, args ...string) (p *program, addr string) {
	t.Helper()
	p = launch(t, command(append([]string{"-addr", "127.0.0.1:0", "-events"}, args...)...))
	return p, p.address(t)
}

// launch starts a program. It is killed at the end of the test if it has not ended.
func launch(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{cmd: cmd, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%v printed:\n%s\nand on standard error:\n%s", cmd.Args[1:], p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

// address waits until a server listens.
func (p *program) address(t *testing.T) (addr string) {
	t.Helper()
	testkit.Eventually(t, "the example listens", func() bool {
		_, rest, _ := strings.Cut(p.stderr.String(), "listening on ")
		line, _, whole := strings.Cut(rest, "\n")
		addr = line
		return whole
	})
	return addr
}

// end asks the example to stop, and wants it to end in order.
func (p *program) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testkit.Receive(t, "the example ends", p.exited)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(p.stderr.String(), "stopped:") {
		t.Errorf("the example ended with status %d", code)
	}
}

func dial(t *testing.T, addr, user string) *chatclient.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	c, err := chatclient.Dial(ctx, addr, client.Config{UserID: user}, chatclient.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A7, rule P29: what was answered is there when the server starts again.
func TestTheServerKeepsItsMessages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chat.db")
	ctx, cancel := context.WithTimeout(t.Context(), 2*testkit.Patience)
	defer cancel()
	p, addr := start(t, "-db", file)
	ann := dial(t, addr, "ann")
	room, err := ann.CreateGroup(ctx, chatclient.Group{Name: "climbing", Open: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ann.Send(ctx, chatclient.ToGroup(room), 1, []byte("who is coming?"), chatclient.SendOptions{}); err != nil {
		t.Fatal(err)
	}
	p.end(t)
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Errorf("the file is %v, %v", info, err)
	}

	p, addr = start(t, "-db", file)
	ann = dial(t, addr, "ann")
	page, err := ann.History(ctx, chatclient.ToGroup(room), chatclient.Range{})
	if err != nil || len(page.Messages) != 1 || string(page.Messages[0].Content) != "who is coming?" {
		t.Errorf("rule P29: after a restart the history is %+v, %v", page, err)
	}
	p.end(t)
}

// A server without a place for messages says what it needs.
func TestTheServerNeedsAStore(t *testing.T) {
	for _, args := range [][]string{nil, {"-db", "x", "-postgres", "y"}} {
		out, err := command(args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "say where messages are kept") {
			t.Errorf("with %q the server says %s, %v", args, out, err)
		}
	}
}

// Rule P40: with -postgres users are made whom the application announces, once by two servers.
func TestTheServerMakesAnnouncedUsers(t *testing.T) {
	a := newApplication(t)
	one, _ := start(t, "-postgres", a.dsn)
	other, _ := start(t, "-postgres", a.dsn)
	a.awaitTable()
	a.run("BEGIN; INSERT INTO user_events (user_id) SELECT 'user' || n FROM generate_series(1, 20) n; NOTIFY user_events; COMMIT")
	a.empty()
	one.end(t)
	other.end(t)
	if n := strings.Count(one.stdout.String()+other.stdout.String(), `"event":"user_created"`); n != 20 {
		t.Errorf("rule P40: 20 users were announced, and %d made", n)
	}
}
