package browsertest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// webchat builds and starts examples/webchat, and returns its address and what stops it.
func webchat(t *testing.T, addr string) (url string, stop func()) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "webchat")
	build := exec.Command("go", "build", "-o", program, "./examples/webchat")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "-addr", addr)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	return strings.TrimSpace(strings.TrimPrefix(line, "listening on ")), stop
}

// enter gives the page a name.
func (p *tab) enter(user string) {
	p.t.Helper()
	p.typing("#enter input", user+"\r")
	p.await("document.querySelector('#lines .note')")
}

func (p *tab) say(text string) {
	p.t.Helper()
	p.typing("#say input", text+"\r")
	p.shows(text)
}

// shows waits until the room shows a text.
func (p *tab) shows(text string) {
	p.t.Helper()
	p.await(fmt.Sprintf("document.querySelector('#lines').textContent.includes(%q)", text))
}

// people waits until these are in the room.
func (p *tab) people(want string) {
	p.t.Helper()
	p.await(fmt.Sprintf("[...document.querySelectorAll('#people li')].map(e => e.textContent).join() === %q", want))
}

// The page of examples/webchat: rooms, who is in them, a second tab of a user that pushes out the first, and a server that comes back.
func TestTheWebChat(t *testing.T) {
	b := browser(t)
	url, stop := webchat(t, "127.0.0.1:0")
	ann, bob := open(t, b, url), open(t, b, url)
	ann.enter("Ann")
	bob.enter("Bob")
	ann.people("Ann (you),Bob")
	ann.say("Hello, is anybody here?")
	bob.shows("Hello, is anybody here?")
	bob.say("I am. <b>And this is no HTML</b>")
	ann.shows("<b>And this is no HTML</b>")
	ann.say("So it is. Shall we meet at eight, at the usual place?")
	ann.keep("webchat", 1100, 700)
	bob.keep("webchat-phone", 390, 760)

	bob.run(chromedp.Click("#rooms button:nth-child(2)"))
	bob.people("Bob (you)")
	ann.people("Ann (you)")
	ann.say("Bob is in the kitchen")
	bob.run(chromedp.Click("#rooms button:nth-child(1)"))
	bob.shows("Bob is in the kitchen")

	second := open(t, b, url)
	second.enter("Ann")
	ann.await("document.querySelector('#over').open && document.querySelector('#over').textContent.includes('another tab')")
	second.people("Ann (you),Bob")
	ann.keep("webchat-pushed-out", 390, 760)
	ann.run(chromedp.Click("#over button"))
	second.await("document.querySelector('#over').open")
	ann.await("!document.querySelector('#over').open")
	ann.people("Ann (you),Bob")

	stop()
	ann.await("!document.querySelector('#state').hidden")
	webchat(t, strings.TrimPrefix(url, "http://"))
	ann.people("Ann (you),Bob")
	ann.say("We are back")
	bob.shows("We are back")
}
