//go:build linux

package soak

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// child is another process of this test binary. Its standard input ends with the test, and it with its input.
type child struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	mu   sync.Mutex // of a question and its answer
	gone bool       // it was waited for
}

// childArg has, in the environment, what a child is told besides its job.
const childArg = "ROLLCALL_SOAK_ARG"

// startChild starts a job. before, when there is any, is the command that starts it.
func startChild(t testing.TB, job string, arg any, before ...string) *child {
	t.Helper()
	told, err := json.Marshal(arg)
	if err != nil {
		t.Fatal(err)
	}
	args := append(before, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	// The race detector would sleep for a second at each exit.
	cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0", childJob+"="+job, childArg+"="+string(told))
	cmd.Stderr = os.Stderr
	c := &child{t: t, cmd: cmd}
	if c.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end() })
	return c
}

// startIdle is startChild for a process that, in make soak, gets the processor when no other, or hardly any, wants it. Elsewhere nothing is
// measured, and on a machine where other tests keep the processors busy such a process would come to nothing.
func startIdle(t testing.TB, job string, arg any) *child {
	t.Helper()
	if soakTime() == 0 {
		return startChild(t, job, arg)
	}
	for _, before := range [][]string{{"chrt", "-i", "0"}, {"nice", "-n", "19"}} {
		if exec.Command(before[0], append(before[1:], "true")...).Run() == nil {
			return startChild(t, job, arg, before...)
		}
	}
	return startChild(t, job, arg)
}

// end ends the child's input and waits for the child; one that does not end is killed.
func (c *child) end() {
	c.t.Helper()
	if c.gone {
		return
	}
	c.gone = true
	_ = c.in.Close()
	timer := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the child process: %v", err)
	}
}

// kill is kill -9.
func (c *child) kill() {
	c.gone = true
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	_ = c.in.Close()
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// freeze stops the process and waits until each of its threads has stopped: on a busy machine one may run on for a while.
func (c *child) freeze() {
	c.t.Helper()
	c.signal(syscall.SIGSTOP)
	eventually(c.t, "the process stops", c.isStopped)
}

// thawAfter has the process go on after d. How long it is stopped is what is tested.
func (c *child) thawAfter(d time.Duration) {
	c.t.Helper()
	time.Sleep(d)
	c.signal(syscall.SIGCONT)
}

// isStopped reads the state of each thread, which follows its name in parentheses.
func (c *child) isStopped() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		c.t.Fatal("the process has no threads", err)
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

func (c *child) line() string {
	c.t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the child process: %v", err)
	}
	return strings.TrimSpace(s)
}

// ask writes a line and reads one.
func (c *child) ask(question string) string {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.WriteString(c.in, question+"\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.line()
}

func childIsTold(v any) {
	if err := json.Unmarshal([]byte(os.Getenv(childArg)), v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
