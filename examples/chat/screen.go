package main

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is where lines are typed and shown. On a terminal lines that come are written above the prompt, and what is half typed stays.
// Otherwise the lines of a file or pipe are read, and lines are written as they come.
type screen struct {
	mu     sync.Mutex // one line is written at a time; it guards prompt and width
	out    io.Writer
	plain  *bufio.Scanner
	editor *term.Terminal // nil for plain
	keys   *keys
	size   func() (width, height int, err error)
	prompt string
	width  int
	colour bool
	close  func() // gives the terminal back as it was
}

// openScreen has a screen on standard input and output. interrupted is called for Ctrl-C.
func openScreen(in, out *os.File, interrupted func()) (*screen, error) {
	toPerson := term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb"
	colour := toPerson && os.Getenv("NO_COLOR") == ""
	if !toPerson || !term.IsTerminal(int(in.Fd())) {
		s := plainScreen(in, out)
		s.colour = colour
		return s, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	s := editorScreen(&keys{in: in, out: out, interrupted: interrupted}, func() (int, int, error) { return term.GetSize(int(out.Fd())) })
	s.colour = colour
	s.close = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, _ = io.WriteString(out, "\r\x1b[K") // no prompt is left
		_ = term.Restore(int(in.Fd()), before)
	}
	return s, nil
}

func plainScreen(in io.Reader, out io.Writer) *screen {
	s := &screen{out: out, plain: bufio.NewScanner(in), close: func() {}}
	s.plain.Buffer(nil, 1<<20)
	return s
}

func editorScreen(k *keys, size func() (width, height int, err error)) *screen {
	return &screen{out: k, editor: term.NewTerminal(k, "> "), keys: k, size: size, prompt: "> ", width: 80, close: func() {}}
}

// keys are the terminal's two directions, for term.Terminal, which takes Ctrl-C for the end of the input.
type keys struct {
	in          io.Reader
	out         io.Writer
	interrupted func()
	atNewLine   atomic.Bool // what was written last ends a line
}

const ctrlC = 3

func (k *keys) Read(p []byte) (int, error) {
	n, err := k.in.Read(p)
	if bytes.IndexByte(p[:n], ctrlC) >= 0 {
		k.interrupted()
	}
	return n, err
}

func (k *keys) Write(p []byte) (int, error) {
	k.atNewLine.Store(bytes.HasSuffix(p, []byte("\r\n")))
	return k.out.Write(p)
}

// read returns the next line that is typed. A message goes from the prompt: it is shown when it is stored.
func (s *screen) read() (string, error) {
	if s.editor == nil {
		if !s.plain.Scan() {
			return "", io.EOF
		}
		return strings.TrimSpace(s.plain.Text()), nil
	}
	s.mu.Lock()
	s.fit()
	s.mu.Unlock()
	line, err := s.editor.ReadLine()
	if err == nil && line != "" && !strings.HasPrefix(line, "/") {
		s.takeBack(line)
	}
	return strings.TrimSpace(line), err
}

// takeBack clears the line that was typed last, unless another one has been written below it.
func (s *screen) takeBack(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys.atNewLine.Load() {
		rows := utf8.RuneCountInString(s.prompt+line)/s.width + 1 // as term.Terminal counts them
		_, _ = fmt.Fprintf(s.keys, "\x1b[%dA\r\x1b[J", rows)
	}
}

// fit tells the editor how wide the terminal is now.
func (s *screen) fit() {
	if width, height, err := s.size(); err == nil && width > 0 && height > 0 && width != s.width {
		s.width = width
		_ = s.editor.SetSize(width, height)
	}
}

// setPrompt shows where plain text goes.
func (s *screen) setPrompt(where string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.editor == nil {
		return
	}
	s.prompt = visible(where) + "> "
	s.editor.SetPrompt(s.prompt)
	_, _ = s.editor.Write(nil) // draws it
}

// safe is text that may be written as it is.
type safe string

// print writes a line. All arguments that are not safe have their control characters escaped, because text of other users could rewrite the
// terminal with them.
func (s *screen) print(format string, args ...any) {
	for i, a := range args {
		if _, ok := a.(safe); !ok {
			args[i] = visible(fmt.Sprint(a))
		}
	}
	line := fmt.Sprintf(format, args...) + "\n"
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.editor == nil {
		_, _ = io.WriteString(s.out, line)
		return
	}
	s.fit()
	_, _ = io.WriteString(s.editor, line+"\x1b[m") // so that no text is left at a new line: see takeBack
}

// visible returns text with its control characters escaped, also line feeds, with which a user could write a line as another,
// and those that change the direction of writing.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// colours are those of a terminal's 16 that can be read on black and on white.
var colours = []int{31, 32, 33, 35, 36, 91, 92, 94, 95, 96}

// name returns a user's ID, in a colour that is the same everywhere.
func (s *screen) name(userID string) safe {
	text := visible(userID)
	if !s.colour {
		return safe(text)
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, userID)
	return safe(fmt.Sprintf("\x1b[%dm%s\x1b[m", colours[int(h.Sum32()%uint32(len(colours)))], text))
}
