// Package examples_test runs the examples as a person would, and reads what they print.
package examples_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/rollcall-go/rollcall/bridge" // so that go test sees when what the examples are built of has changed
	_ "github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
)

const patience = testkit.Patience

// program is an example that runs.
type program struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	exited         chan struct{}
}

// output gathers what a program prints.
type output struct{ testkit.Output }

func (o *output) lines() []string { return strings.Split(strings.TrimSpace(o.String()), "\n") }

// eventually is testkit.Eventually.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, what, ok)
}

// programs is the folder of the examples that are built; built has a function for each, which returns its file.
var (
	programs string
	built    sync.Map
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "examples")
	if err != nil {
		panic(err)
	}
	programs = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// build builds an example, once for all tests.
func build(t *testing.T, name string) (bin string) {
	t.Helper()
	f, _ := built.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		bin := filepath.Join(programs, strings.ReplaceAll(name, "/", "-"))
		sources, _ := filepath.Glob(name + "/*.go")
		for _, file := range sources { // go test sees what a test looks at, and runs it again when that has changed
			_, _ = os.Stat(file)
		}
		if out, err := exec.Command("go", "build", "-o", bin, "./"+name).CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s: %v\n%s", name, err, out)
		}
		return bin, nil
	}))
	bin, err := f.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// start builds and runs an example. It is stopped with the test.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	return run(t, exec.Command(build(t, name), args...))
}

// run starts an example that is built. It is stopped with the test.
func run(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{cmd: cmd, stdout: new(output), stderr: new(output), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
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
			t.Logf("%s printed:\n%s\nand on standard error:\n%s", cmd, p.stdout, p.stderr)
		}
	})
	return p
}

// address waits until the example listens.
func (p *program) address(t *testing.T) (addr string) {
	t.Helper()
	eventually(t, "the example listens", func() bool {
		_, rest, ok := strings.Cut(p.stderr.String(), "listening on ")
		end := strings.IndexAny(rest, ";\n")
		if ok && end > 0 {
			addr = rest[:end]
		}
		return addr != ""
	})
	return addr
}

// end asks the example to stop, and requires that it ends with status 0.
func (p *program) end(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
}

func (p *program) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatal("the example does not end")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("the example ended with status %d", code)
	}
}

// peer is a client that speaks Rollcall's wire.
type peer struct {
	net.Conn
	in wiretest.Reader
}

func dial(t *testing.T, addr string) *peer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &peer{Conn: c}
}

func (p *peer) send(t *testing.T, m protocol.Message) {
	t.Helper()
	b, err := protocol.Binary.Append(nil, &m)
	if err == nil {
		_, err = p.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (p *peer) receive(t *testing.T) *protocol.Message {
	t.Helper()
	m, err := p.in.Next(p.Read)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// closeCode waits for the Close notice.
func (p *peer) closeCode(t *testing.T) protocol.CloseCode {
	t.Helper()
	for {
		if m := p.receive(t); m.Type == protocol.TypeClose {
			why, err := protocol.ParseClose(m.Body)
			if err != nil {
				t.Fatal(err)
			}
			return why.Code
		}
	}
}

func TestQuickstartTellsTheWholeStoryAndEnds(t *testing.T) {
	quickstart := start(t, "quickstart")
	quickstart.wait(t)
	rest := quickstart.stdout.String()
	for _, line := range []string{
		"alice is online, from 127.0.0.1:", "bob is online", `the server answers "is anybody there?"`,
		"UserOffline: the user is offline",
		"alice logged on again from", "has left: PushedOut", "alice is online", "carol is online", "carol fell silent",
		"has left: HeartbeatTimeout", "USER", "bob at", "has left: KickedOut", "nobody is online (0)",
	} {
		_, after, ok := strings.Cut(rest, line)
		if !ok {
			t.Fatalf("it does not print %q, or not where it should", line)
		}
		rest = after
	}
	if line := `bob:           alice writes "lunch at noon?"`; !strings.Contains(quickstart.stdout.String(), line) {
		t.Errorf("it does not print %q", line)
	}
}

func TestQuickstartCanStayUp(t *testing.T) {
	quickstart := start(t, "quickstart", "-listen", "localhost:0")
	eventually(t, "the story is told", func() bool { return strings.Contains(quickstart.stdout.String(), "stays up on") })
	_, addr, _ := strings.Cut(quickstart.stdout.String(), "stays up on ")
	addr, _, _ = strings.Cut(addr, ". ")
	p := dial(t, addr)
	p.send(t, protocol.Message{Type: 1, UserID: "dora", ID: 5, Body: []byte("hi")})
	if m := p.receive(t); string(m.Body) != "hi" {
		t.Errorf("answered %+v", m)
	}
	eventually(t, "the page is named", func() bool { return strings.Contains(quickstart.stdout.String(), "give it the token") })
	_, url, _ := strings.Cut(quickstart.stdout.String(), "who is online: ")
	url, _, _ = strings.Cut(url, "\n")
	if status, text := asked(t, http.DefaultClient, "GET", url+"api/v1/user?id=dora", "", nil); status != 200 || !strings.Contains(text, `"user":"dora"`) {
		t.Errorf("the page answers %d: %s", status, text)
	}
	quickstart.end(t, os.Interrupt)
}

func TestEchoAnswersWithTheSameTypeIDAndBodyAndTellsItsEvents(t *testing.T) {
	echo := start(t, "echo", "-addr", "127.0.0.1:0", "-events")
	addr := echo.address(t)
	first := dial(t, addr)
	first.send(t, protocol.Message{Type: protocol.TypeLogon, UserID: "alice", ID: 1})
	if m := first.receive(t); m.Type != protocol.TypeLogon || m.ID != 1 || m.Flags != protocol.FlagReply {
		t.Fatalf("the Logon is answered %+v", m)
	}
	for id := range uint32(3) { // ID 0 too: echo answers everything
		first.send(t, protocol.Message{Type: 7 + uint16(id), ID: id, Body: fmt.Appendf(nil, "hello %d", id)})
		m := first.receive(t)
		if m.Type != 7+uint16(id) || m.ID != id || string(m.Body) != fmt.Sprintf("hello %d", id) {
			t.Errorf("message %d is answered %+v", id, m)
		}
	}
	second := dial(t, addr)
	second.send(t, protocol.Message{Type: protocol.TypeLogon, UserID: "alice", ID: 1})
	second.receive(t)
	if code := first.closeCode(t); code != protocol.PushedOut {
		t.Errorf("the first connection is told %v", code)
	}
	echo.end(t, syscall.SIGTERM)
	if code := second.closeCode(t); code != protocol.ServerStopping {
		t.Errorf("the second connection is told %v", code)
	}

	var events []string
	count := -1.0
	for _, line := range echo.stdout.lines() {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if e["event"] == "user_count" {
			count = e["count"].(float64)
			continue
		}
		event := fmt.Sprint(e["event"], " ", e["user"])
		if cause, ok := e["cause"]; ok {
			event += fmt.Sprint(" ", cause)
		}
		events = append(events, event)
	}
	want := "connected alice, pushed_out alice, disconnected alice 2000, connected alice, disconnected alice 1004"
	if got := strings.Join(events, ", "); got != want {
		t.Errorf("events:\n%s\nwant:\n%s", got, want)
	}
	if count != 0 {
		t.Errorf("the last user_count is %v", count)
	}
}

func TestEchosFlagsDoWhatTheySay(t *testing.T) {
	logon := func(fields map[string]string) protocol.Message {
		body, err := protocol.AppendStringMap(nil, fields)
		if err != nil {
			t.Fatal(err)
		}
		return protocol.Message{Type: protocol.TypeLogon, UserID: "alice", ID: 1, Body: body}
	}
	for _, c := range []struct {
		flags []string
		drive func(t *testing.T, addr string) protocol.CloseCode
		want  protocol.CloseCode
	}{
		{[]string{"-relogon", "ignore-new"}, func(t *testing.T, addr string) protocol.CloseCode {
			first := dial(t, addr)
			first.send(t, logon(nil))
			first.receive(t)
			second := dial(t, addr)
			second.send(t, logon(nil))
			return second.closeCode(t)
		}, protocol.AlreadyLoggedOn},
		{[]string{"-token", "secret"}, func(t *testing.T, addr string) protocol.CloseCode {
			right := dial(t, addr)
			right.send(t, logon(map[string]string{"token": "secret"}))
			if m := right.receive(t); m.Flags != protocol.FlagReply {
				t.Errorf("the right token is answered %+v", m)
			}
			wrong := dial(t, addr)
			wrong.send(t, logon(map[string]string{"token": "guess"}))
			return wrong.closeCode(t)
		}, protocol.Unauthorized},
		{[]string{"-strict-user-id"}, func(t *testing.T, addr string) protocol.CloseCode {
			p := dial(t, addr)
			p.send(t, logon(nil))
			p.send(t, protocol.Message{Type: 1, UserID: "bob"})
			return p.closeCode(t)
		}, protocol.WrongUserID},
		{[]string{"-max-body", "10", "-workers", "2", "-loops", "1"}, func(t *testing.T, addr string) protocol.CloseCode {
			p := dial(t, addr)
			p.send(t, logon(nil))
			p.send(t, protocol.Message{Type: 1, Body: []byte("eleven byte")})
			return p.closeCode(t)
		}, protocol.MessageTooLarge},
		{[]string{"-max-connections", "1"}, func(t *testing.T, addr string) protocol.CloseCode {
			only := dial(t, addr)
			only.send(t, logon(nil))
			only.receive(t)
			return dial(t, addr).closeCode(t)
		}, protocol.TooManyConnections},
		{[]string{"-logon-timeout", "50ms"}, func(t *testing.T, addr string) protocol.CloseCode {
			return dial(t, addr).closeCode(t)
		}, protocol.LogonTimeout},
		{[]string{"-heartbeat-interval", "20ms", "-heartbeat-timeout", "60ms"}, func(t *testing.T, addr string) protocol.CloseCode {
			p := dial(t, addr)
			p.send(t, logon(nil))
			return p.closeCode(t)
		}, protocol.HeartbeatTimeout},
	} {
		t.Run(strings.Join(c.flags, " "), func(t *testing.T) {
			echo := start(t, "echo", append(c.flags, "-addr", "127.0.0.1:0")...)
			if code := c.drive(t, echo.address(t)); code != c.want {
				t.Errorf("told %v, want %v", code, c.want)
			}
			echo.end(t, os.Interrupt)
		})
	}
}

func TestCustomCodecTalksToATerminal(t *testing.T) {
	server := start(t, "customcodec", "-addr", "127.0.0.1:0", "-meters", "127.0.0.1:0")
	addr := server.address(t)
	type terminal struct {
		net.Conn
		in *bufio.Reader
	}
	open := func(lines ...string) terminal {
		c := dial(t, addr)
		term := terminal{c, bufio.NewReader(c)}
		_, _ = io.WriteString(c, strings.Join(lines, "\n")+"\n")
		return term
	}
	expect := func(term terminal, want string) {
		t.Helper()
		got, err := term.in.ReadString('\n')
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("the terminal shows %q, %v; want %q", got, err, want)
		}
	}
	alice := open("I am alice")
	expect(alice, "* welcome")
	bob := open("I am bob")
	expect(bob, "* welcome")
	_, _ = io.WriteString(alice, "bob: hello\n\nzoe: are you there\n")
	expect(bob, "alice: hello")
	expect(alice, "* sent")
	expect(alice, "! UserOffline")
	expect(open("hello?"), "! InvalidMessage")
	server.end(t, os.Interrupt)
	expect(bob, "! ServerStopping")
}
