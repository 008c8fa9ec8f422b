// Snippets runs the code of README.md's section "From any other language": each language's lines, put into a program, against a server. Each
// must log on as alice, send "hello" to bob, and answer bob's request with "ok".
//
//	go run ./clients/snippets            # needs the clients built: make clients
//	go run ./clients/snippets c python   # these languages alone
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// patience is how long a program may take to compile, to start, and to answer.
const patience = 2 * time.Minute

func main() {
	failed, ran, err := runAll(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "snippets:", err)
		os.Exit(1)
	}
	fmt.Printf("the README's code in %d languages: %d passed, %d failed\n", ran, ran-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

// runAll runs the code of the languages, or of all, each against a server of its own.
func runAll(names []string) (failed, ran int, err error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return 0, 0, fmt.Errorf("the module's folder: %w", err)
	}
	root := strings.TrimSpace(string(out))
	code, err := snippets(filepath.Join(root, "README.md"))
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(languages, func(l language) bool { return l.name == name }) {
			return 0, 0, fmt.Errorf("%q is no language of the README", name)
		}
	}
	for _, l := range languages {
		if len(names) > 0 && !slices.Contains(names, l.name) {
			continue
		}
		ran++
		if err := l.try(root, code[l.fence]); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", l.name, err)
		}
	}
	return failed, ran, nil
}

// snippets returns the code blocks of the section, by the word behind their fences.
func snippets(readme string) (map[string]string, error) {
	text, err := os.ReadFile(readme)
	if err != nil {
		return nil, err
	}
	_, section, ok := strings.Cut(string(text), "\n### From any other language\n")
	if !ok {
		return nil, errors.New("the README has no section \"From any other language\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	code := make(map[string]string)
	for _, m := range regexp.MustCompile("(?s)```(\\w+)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		code[m[1]] = m[2]
	}
	for _, l := range languages {
		if code[l.fence] == "" {
			return nil, fmt.Errorf("the README has no code in %s", l.name)
		}
	}
	if len(code) != len(languages) {
		return nil, errors.New("the README has code in a language that is not tried")
	}
	return code, nil
}

// try puts the code into a program and runs it, until bob has got its message and its answer.
func (l *language) try(root, code string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	srv, port, err := serve()
	if err != nil {
		return err
	}
	defer srv.stop()
	heard := make(chan string, 1)
	bob, err := client.Dial(ctx, "127.0.0.1:"+port, client.Config{UserID: "bob", Handle: map[uint16]client.Handler{
		1: func(_ *client.Client, m *protocol.Message) error {
			heard <- m.UserID + ": " + string(m.Body)
			return nil
		},
	}})
	if err != nil {
		return err
	}
	defer bob.Close()
	parent := ""
	if l.inside != "" {
		parent = filepath.Join(root, "clients", l.inside)
	}
	dir, err := os.MkdirTemp(parent, "snippet")
	if err != nil {
		return fmt.Errorf("%w (make clients builds the client)", err)
	}
	defer os.RemoveAll(dir)
	if !strings.Contains(code, "9000") {
		return errors.New("the code does not connect to port 9000")
	}
	code = strings.ReplaceAll(code, "9000", port)
	if err := os.WriteFile(filepath.Join(dir, l.file), []byte(strings.Replace(l.program, "CODE\n", code, 1)), 0o600); err != nil {
		return err
	}
	var said strings.Builder
	cmd := exec.CommandContext(ctx, "sh", "-c", l.run)
	cmd.Env = append(os.Environ(), "DIR="+dir, "CLIENTS="+filepath.Join(root, "clients"))
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, &said, &said, time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = talk(ctx, bob, heard, ended)
	cancel() // ends the program
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	return nil
}

// talk waits for alice's message, and asks her something.
func talk(ctx context.Context, bob *client.Client, heard chan string, ended chan error) error {
	select {
	case got := <-heard:
		if got != "alice: hello" {
			return fmt.Errorf("bob got %q", got)
		}
	case err := <-ended:
		ended <- err
		return fmt.Errorf("the program ended (%v) before bob got a message", err)
	case <-ctx.Done():
		return errors.New("bob got no message")
	}
	reply, err := bob.RequestTo(ctx, "alice", 1, []byte("are you there?"))
	if err != nil {
		return fmt.Errorf("alice's answer: %w", err)
	}
	if string(reply.Body) != "ok" {
		return fmt.Errorf("alice answered %q", reply.Body)
	}
	return nil
}

// server is a server that relays.
type server struct {
	stop func()
}

func serve() (srv server, port string, err error) {
	cfg := rollcall.Config{Logger: zap.NewNop()}
	cfg.Engine = engine.Config{Loops: 1, Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}}
	cfg.Bridge.Relay = &bridge.Relay{}
	s, err := rollcall.New(cfg)
	if err != nil {
		return server{}, "", err
	}
	if err := s.Listen(); err != nil {
		return server{}, "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	_, port, err = net.SplitHostPort(s.Addrs()[0].String())
	return server{func() { cancel(); <-ended }}, port, err
}
