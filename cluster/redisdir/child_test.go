package redisdir_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// jobs are what this test binary does when a test starts it as a process of its own. A job gets its argument as JSON, and ends with its
// standard input.
var jobs = map[string]func(arg []byte){"clients": runClients}

const (
	jobName = "ROLLCALL_REDISDIR_JOB"
	jobArg  = "ROLLCALL_REDISDIR_ARG"
)

func TestMain(m *testing.M) {
	if job := jobs[os.Getenv(jobName)]; job != nil {
		job([]byte(os.Getenv(jobArg)))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is another process of this test binary. It ends with the test.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts a job. before, when there is any, is the command that starts it.
func startChild(t testing.TB, job string, arg any, before ...string) *child {
	t.Helper()
	args := append(before, os.Args[0])
	c := &child{t: t, cmd: exec.Command(args[0], args[1:]...)}
	// The race detector would sleep for a second at each exit.
	c.cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0", jobName+"="+job, jobArg+"="+string(testkit.Must(json.Marshal(arg))))
	c.cmd.Stderr = os.Stderr
	c.in = testkit.Must(c.cmd.StdinPipe())
	c.out = bufio.NewReader(testkit.Must(c.cmd.StdoutPipe()))
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

// ask gives the child a line, and returns its answer.
func (c *child) ask(line string) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Fatal(err)
	}
	answer, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// kill is kill -9.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}
