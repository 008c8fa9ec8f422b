package usermgr_test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func item(userID, remote string) usermgr.DisplayItem {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return usermgr.DisplayItem{UserID: userID, Address: usermgr.Address{Via: remote}}
	}
	return usermgr.DisplayItem{UserID: userID, Address: usermgr.Address{Remote: a}}
}

// console is what NewConsoleDisplayer returns.
type console interface {
	usermgr.UserDisplayer
	usermgr.Refresher
}

func newConsole(w io.Writer, rows int) console { return usermgr.NewConsoleDisplayer(w, rows).(console) }

func ExampleNewConsoleDisplayer() {
	c := usermgr.NewConsoleDisplayer(os.Stdout, 0) // the caller would give it to Manager.Display
	c.SetOrUpdateUserItem(usermgr.DisplayItem{
		UserID: "bob", Address: usermgr.Address{Remote: netip.MustParseAddrPort("192.0.2.7:50122"), Via: "wss"},
		In:  protocol.Traffic{Messages: 12, Bytes: 340, LastType: 0x0101},
		Out: protocol.Traffic{Messages: 1500, Bytes: 96000, LastType: 0x0102},
	})
	c.SetOrUpdateUserItem(usermgr.DisplayItem{UserID: "ann", Address: usermgr.Address{Remote: netip.MustParseAddrPort("[2001:db8::1]:9")}})
	c.SetOrUpdateUserItem(usermgr.DisplayItem{UserID: "cid"})
	c.RemoveUser("cid", protocol.KickedOut)
	c.(usermgr.Refresher).Refresh() // so does Display
	// Output:
	// 2 online
	// USER  ADDRESS          VIA  MESSAGES IN  BYTES IN  MESSAGES OUT  BYTES OUT  LAST TYPE OUT
	// ann   [2001:db8::1]:9  -    0            0         0             0          -
	// bob   192.0.2.7:50122  wss  12           340       1500          96000      0x0102
	// cid left: KickedOut
}

// E10: with very many users the first by ID are listed, and the rest counted.
func TestConsoleListsTheFirstUsersByID(t *testing.T) {
	for _, c := range []struct {
		rows, users, listed int
		more                string
	}{
		{0, 12395, 50, "… and 12,345 more"},
		{0, 50, 50, ""},
		{3, 4, 3, "… and 1 more"},
		{-1, 120, 120, ""},
	} {
		t.Run(fmt.Sprintf("%d rows of %d users", c.rows, c.users), func(t *testing.T) {
			var out bytes.Buffer
			d := newConsole(&out, c.rows)
			for i := range c.users {
				d.SetOrUpdateUserItem(item(fmt.Sprintf("user%06d", i), "192.0.2.1:1"))
			}
			d.Refresh()
			lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")[2:]
			for i := range c.listed {
				if want := fmt.Sprintf("user%06d ", i); i >= len(lines) || !strings.HasPrefix(lines[i], want) {
					t.Fatalf("row %d does not begin with %q:\n%s", i, want, out.String())
				}
			}
			if got := strings.Join(lines[c.listed:], "\n"); got != c.more {
				t.Errorf("after the rows comes %q, want %q", got, c.more)
			}
		})
	}
}

// E10: an ID may have characters that move, hide or reverse what a terminal shows. They are shown as numbers, and the columns
// stand where they should.
func TestConsoleShowsIDsAsTheyAre(t *testing.T) {
	var out bytes.Buffer
	d := newConsole(&out, 0)
	for _, id := range []string{"\u202Eann", "bo\u200Bb", "c\u0301", "dän", "e\x1b[2J", "漢字", "f\u2028g", "h\U000E0041", "i\u00A0j"} {
		d.SetOrUpdateUserItem(item(id, "192.0.2.1:1"))
	}
	d.SetOrUpdateUserItem(item("k\u2066", ""))
	d.RemoveUser("k\u2066", protocol.KickedOut)
	d.Refresh()
	_, got, _ := strings.Cut(out.String(), "OUT\n")
	row := func(id string, width int) string {
		return id + strings.Repeat(" ", 13-width) + "192.0.2.1:1  -    0            0         0             0          -\n"
	}
	want := row(`bo\u200Bb`, 9) + row(`c\u0301`, 7) + row("dän", 3) + row(`e\u001B[2J`, 10) + row(`f\u2028g`, 8) +
		row(`h\U000E0041`, 11) + row(`i\u00A0j`, 8) + row(`\u202Eann`, 9) + row("漢字", 4) + `k\u2066 left: KickedOut` + "\n\n"
	if got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

// E10: the last few departures are listed with their causes, the newest first.
func TestConsoleListsTheLastDepartures(t *testing.T) {
	var out bytes.Buffer
	d := newConsole(&out, 0)
	for i := range 7 {
		d.SetOrUpdateUserItem(item(fmt.Sprint("user", i), ""))
		d.RemoveUser(fmt.Sprint("user", i), protocol.NetworkError)
	}
	d.Refresh()
	_, got, _ := strings.Cut(out.String(), "OUT\n")
	want := "user6 left: NetworkError\nuser5 left: NetworkError\nuser4 left: NetworkError\n" +
		"user3 left: NetworkError\nuser2 left: NetworkError\n\n"
	if got != want {
		t.Errorf("below the empty table is\n%s\nwant\n%s", got, want)
	}
}

func TestConsoleClearAllForgetsEverything(t *testing.T) {
	var out bytes.Buffer
	d := newConsole(&out, 0)
	d.SetOrUpdateUserItem(item("ann", ""))
	d.SetOrUpdateUserItem(item("bob", ""))
	d.RemoveUser("bob", protocol.ClientClosed)
	d.ClearAll()
	d.Refresh()
	got := out.String()
	if !strings.HasPrefix(got, "0 online\n") || strings.Contains(got, "ann") || strings.Contains(got, "bob") {
		t.Errorf("after ClearAll there is\n%s", got)
	}
}

// A table takes the place of the last on a terminal only.
func TestConsoleClearsTheScreenOfATerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // the test is over
	newConsole(f, 0).Refresh()
	if out, err := os.ReadFile(f.Name()); err != nil || !strings.HasPrefix(string(out), "0 online\n") {
		t.Errorf("a file is taken for a terminal: %q, %v", out, err)
	}
	var out bytes.Buffer
	usermgr.NewTerminalDisplayer(&out).(usermgr.Refresher).Refresh()
	if !strings.HasPrefix(out.String(), "\x1b[H\x1b[2J0 online\n") {
		t.Errorf("the screen is not cleared: %q", out.String())
	}
}

// A table is written in one piece, so that it does not mix with what others write.
func TestConsoleWritesATableAtOnce(t *testing.T) {
	var writes writeCounter
	d := newConsole(&writes, 0)
	d.SetOrUpdateUserItem(item("ann", ""))
	d.Refresh()
	if writes != 1 {
		t.Errorf("a table took %d writes", writes)
	}
}

type writeCounter int

func (w *writeCounter) Write(p []byte) (int, error) { *w++; return len(p), nil }
