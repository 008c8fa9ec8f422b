//go:build linux

// Package process starts the servers that are measured, on processors of their own, and reads from /proc what they use.
package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a server that runs.
type Process struct {
	// Addr is where it listens, with the scheme; empty for a program that does not.
	Addr string

	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of standard output and standard error
	ended chan struct{}
}

const patience = 20 * time.Second

// Start starts a server on these processors, and waits until it says "listening on", and where. A server may have several
// addresses; scheme chooses the first that begins so, such as ws://, and "" the first of all.
func Start(cpus []int, scheme, path string, args ...string) (*Process, error) {
	p, err := Run(cpus, path, args...)
	if err != nil {
		return nil, err
	}
	if p.Addr, err = p.Await("listening on "+scheme, patience); err != nil {
		p.Stop()
		return nil, err
	}
	p.Addr = scheme + p.Addr
	return p, nil
}

// Run starts a program on these processors. It dies with the calling thread, so that nothing is left behind.
func Run(cpus []int, path string, args ...string) (*Process, error) {
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	p := &Process{cmd: cmd, stdin: stdin, lines: make(chan string, 4096), ended: make(chan struct{})}
	if err := pinned(cpus, cmd.Start); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			select {
			case p.lines <- s.Text():
			default: // the buffer is full: the line is dropped
			}
		}
		_ = cmd.Wait()
	}()
	return p, nil
}

// Output runs a program on these processors until it ends, and returns what it has said.
func Output(cpus []int, path string, args ...string) (string, error) {
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said []byte
	err := pinned(cpus, func() (err error) {
		said, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", path, strings.Join(args, " "), err, said)
	}
	return string(said), nil
}

// Tell writes a line to the program's standard input.
func (p *Process) Tell(format string, args ...any) error {
	_, err := fmt.Fprintf(p.stdin, format+"\n", args...)
	return err
}

// Await waits until the program says a line that begins with prefix, and returns the rest of the line.
func (p *Process) Await(prefix string, patience time.Duration) (string, error) {
	said := []string{}
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return "", fmt.Errorf("%s ended before it said %q; it said:\n%s", p, prefix, strings.Join(said, "\n"))
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest, nil
			}
			if said = append(said, line); len(said) > 20 {
				said = said[1:]
			}
		case <-timeout:
			return "", fmt.Errorf("%s did not say %q in %v; it said:\n%s", p, prefix, patience, strings.Join(said, "\n"))
		}
	}
}

// Stop asks the program to end, and kills it when it does not.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	_ = p.stdin.Close()
}

// FreeMemory makes a program that imports package freemem free all the memory that it does not need.
func (p *Process) FreeMemory() error {
	if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	_, err := p.Await("memory freed", patience)
	return err
}

// Memory is what the Go runtime of a program counts.
type Memory struct {
	Allocated   int // objects, since the program began
	Heap, Stack int // bytes in use
}

// Memory asks a program that imports package freemem.
func (p *Process) Memory() (m Memory, err error) {
	if err := p.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		return m, err
	}
	said, err := p.Await("memory is ", patience)
	if err != nil {
		return m, err
	}
	_, err = fmt.Sscan(said, &m.Allocated, &m.Heap, &m.Stack)
	return m, err
}

// Resident returns the memory that the process has in RAM, in bytes.
func (p *Process) Resident() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "Rss: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, errors.New("smaps_rollup has no Rss")
}

// CPU returns the processor time that the process has used; 0 if it has ended.
func (p *Process) CPU() CPU { return statCPU(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid)) }

func (p *Process) String() string {
	return strings.Join(append([]string{filepath.Base(p.cmd.Path)}, p.cmd.Args[1:]...), " ")
}
