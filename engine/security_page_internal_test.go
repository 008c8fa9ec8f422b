package engine

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// docs/security.md advises settings for each transport; the defaults that it gives are those of the code.
func TestTheDefaultsOnTheSecurityPageAreTheCodes(t *testing.T) {
	c := Config{}.withDefaults()
	e := &Engine{cfg: c}
	e.setPings(30 * time.Second) // the default of usermgr.Config.HeartbeatTimeout
	web := e.newWebListener(Listener{WebSocket: new(WebSocket)})
	number := func(n, none int) string {
		switch {
		case n == none:
			return "none"
		case n >= 1<<20:
			return fmt.Sprint(n>>20, " MiB")
		case n >= 1<<10:
			return fmt.Sprint(n>>10, " KiB")
		}
		return fmt.Sprint(n)
	}
	seconds := func(d time.Duration) string { return fmt.Sprint(d.Seconds(), " s") }
	defaults := map[string]string{
		"Accept.MaxPerAddress":     number(c.Accept.MaxPerAddress, 0),
		"Accept.MaxPerSubnet":      number(c.Accept.MaxPerSubnet, 0),
		"Accept.MaxHandshakes":     number(c.Accept.MaxHandshakes, 0),
		"Accept.MaxConnections":    "what `ulimit -n` leaves",
		"Bans.Flaps":               number(c.Bans.Flaps, 0),
		"Limits.MaxMessageRate":    number(c.Limits.MaxMessageRate, noLimit),
		"Limits.MaxOutbound":       number(c.Limits.MaxOutbound, noLimit),
		"Timeouts.FirstMessage":    seconds(c.Timeouts.FirstMessage),
		"Timeouts.Handshake":       seconds(c.Timeouts.Handshake),
		"Timeouts.Write":           seconds(c.Timeouts.Write),
		"Listener.TLS":             "none",
		"Listener.Cleartext":       "unset",
		"Listener.ProxyProtocol":   "none",
		"WebSocket.Origins":        "the server's own",
		"WebSocket.TrustForwarded": "none",
		"WebSocket.MaxRequest":     number(web.maxRequest, 0),
		"WebSocket.PageTimeout":    number(int(web.page), 0),
		"WebSocket.PingInterval":   seconds(time.Duration(web.looks) * 2 * e.webPass),
	}
	doc, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## What each transport needs besides\n")
	seen := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\|[^|]*\\| `([A-Z]\\w+\\.\\w+)` \\| ([^|]*) \\|").FindAllStringSubmatch(section, -1) {
		seen[row[1]] = true
		if want := defaults[row[1]]; row[2] != want {
			t.Errorf("the page says of %s %q, and the default is %q", row[1], row[2], want)
		}
	}
	for name := range defaults {
		if !seen[name] {
			t.Errorf("the page does not speak of %s", name)
		}
	}
}
