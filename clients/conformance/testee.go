package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// testee is a program that is judged. docs/writing-a-client.md describes what it speaks.
type testee struct {
	name     string
	command  string        // of a shell
	patience time.Duration // how long a trial waits for one thing; 0 is eventually
}

// command is one line to a testee.
type command map[string]any

// event is one line of a testee.
type event struct {
	Event      string            `json:"event"`
	Language   string            `json:"language"`
	Transports []string          `json:"transports"`
	Lacks      []string          `json:"lacks"`
	State      string            `json:"state"`
	User       string            `json:"user"`
	Code       int               `json:"code"`
	Text       string            `json:"text"`
	MayRe      bool              `json:"may_reconnect"`
	From       string            `json:"from"`
	Type       uint16            `json:"type"`
	Body       string            `json:"body"` // hexadecimal
	Request    int64             `json:"request"`
	ID         string            `json:"id"`
	Kind       int               `json:"kind"`
	Name       string            `json:"name"`
	Time       int64             `json:"time"`
	Confirm    bool              `json:"confirm"`
	Metadata   map[string]string `json:"metadata"`
	Tag        string            `json:"tag"`
	Users      []string          `json:"users"`
	Reason     string            `json:"reason"`

	raw string    // the line
	at  time.Time // when it came
}

func (e *event) String() string { return shorten(e.raw, 300) }

func (e *event) body() string {
	b, err := hex.DecodeString(e.Body)
	if err != nil {
		return "not hexadecimal: " + e.Body
	}
	return string(b)
}

// process is a running testee.
type process struct {
	cmd    *exec.Cmd
	log    *transcript
	label  string // for the transcript
	events mailbox[event]
	stderr tail
	exited chan struct{}
	err    error // of its end; valid after exited

	mu sync.Mutex
	in io.WriteCloser
}

// start runs a testee; the transcript shows its lines with a label.
func (w testee) start(log *transcript, label string) (*process, error) {
	p := &process{label: label, cmd: exec.Command("sh", "-c", "exec "+w.command), log: log, exited: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = time.Second // for a program of its own that has the output still open
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.read(out)
	return p, nil
}

// read reads the events until the testee ends.
func (p *process) read(out io.Reader) {
	r := bufio.NewReaderSize(out, 64<<10)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			e := event{}
			if fault := json.Unmarshal([]byte(line), &e); fault != nil || e.Event == "" {
				e = event{Event: "no event", Text: line}
			}
			e.raw, e.at = line, time.Now()
			p.log.addf("event%s    %s", p.label, shorten(line, 300))
			p.events.put(e)
		}
		if err != nil {
			break
		}
	}
	p.err = p.cmd.Wait()
	p.events.close()
	close(p.exited)
}

// do gives the testee a command.
func (p *process) do(c command) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	p.log.addf("command%s  %s", p.label, shorten(string(line), 300))
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err = p.in.Write(append(line, '\n'))
	return err
}

// end closes the testee's input, and waits for its end.
func (p *process) end(patience time.Duration) error {
	_ = p.in.Close()
	select {
	case <-p.exited:
		if p.err != nil {
			return fmt.Errorf("the testee ended with %w when its input ended; 0 is expected", p.err)
		}
		return nil
	case <-time.After(patience):
		p.kill()
		return errors.New("the testee did not end when its input ended")
	}
}

// text returns the last that the testee has written on standard error.
func (p *process) text() string {
	if p == nil {
		return ""
	}
	return p.stderr.String()
}

// spent returns the processor time of a testee that has ended.
func (p *process) spent() time.Duration {
	if p == nil || p.cmd.ProcessState == nil {
		return 0
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// tail keeps the last bytes that are written to it.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const mostTail = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if extra := len(t.last) - mostTail; extra > 0 {
		t.last = slices.Delete(t.last, 0, extra)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}

// transcript is what happened in a trial, with times.
type transcript struct {
	began time.Time
	mu    sync.Mutex
	lines []string
	left  int // lines that were dropped
}

const mostLines = 400

func (l *transcript) addf(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == mostLines {
		l.lines = slices.Delete(l.lines, mostLines/4, mostLines/2)
		l.left += mostLines / 4
	}
	l.lines = append(l.lines, fmt.Sprintf("%8.3f %s", time.Since(l.began).Seconds(), fmt.Sprintf(format, a...)))
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	if l.left > 0 {
		lines = slices.Insert(slices.Clone(lines), mostLines/4, fmt.Sprintf("         … %d lines are left out", l.left))
	}
	return strings.Join(lines, "\n")
}

// shorten returns s, or the beginning of it.
func shorten(s string, most int) string {
	if len(s) > most {
		return fmt.Sprintf("%s… (%d bytes)", s[:most], len(s))
	}
	return s
}
