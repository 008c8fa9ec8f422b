package examples_test

import (
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// terminal is a chat client whose input the test has. What it prints is no terminal: lines as they come.
type terminal struct {
	*program
	in io.WriteCloser
}

// open starts the chat program.
func open(t *testing.T, bin string, args ...string) *terminal {
	t.Helper()
	cmd := exec.Command(bin, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &terminal{program: run(t, cmd), in: in}
}

// enter starts a client, and waits until it is let in.
func enter(t *testing.T, bin, addr, user string, args ...string) *terminal {
	t.Helper()
	p := open(t, bin, append([]string{"client", "-server", addr, "-user", user}, args...)...)
	p.shows(t, "* you are "+user+" on a ")
	return p
}

// types enters a line.
func (p *terminal) types(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// shows waits until a line has the text.
func (p *terminal) shows(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the terminal shows "+text, func() bool { return strings.Contains(p.stdout.String(), text) })
}

// answers enters a line, and waits until a line that comes after it has the text.
func (p *terminal) answers(t *testing.T, line, text string) {
	t.Helper()
	before := len(p.stdout.String())
	p.types(t, line)
	eventually(t, line+" is answered "+text, func() bool { return strings.Contains(p.stdout.String()[before:], text) })
}

// befriend has two users be friends.
func befriend(t *testing.T, a, b *terminal, aID, bID string) {
	t.Helper()
	a.types(t, "/friend "+bID+" it is me")
	b.shows(t, "* "+aID+" asks to be your friend: it is me (/accept "+aID)
	b.types(t, "/accept "+aID)
	for _, p := range []*terminal{a, b} {
		p.shows(t, "* you and ")
	}
}

// makeRoom has a user make a room, and another join it.
func makeRoom(t *testing.T, a, b *terminal, name string) {
	t.Helper()
	a.types(t, "/room new "+name)
	a.shows(t, "* "+name+" is your room, #")
	_, join, _ := strings.Cut(a.stdout.String(), name+" is your room, #")
	_, join, _ = strings.Cut(join, "come in by ")
	join, _, _ = strings.Cut(join, ",")
	b.types(t, join)
	b.shows(t, "* you are in #"+name)
}

var clockTime = regexp.MustCompile(`^(\d+ \w{3} )?\d\d:\d\d `)

// said returns the messages that a terminal has shown, without their times.
func (p *terminal) said() (lines []string) {
	for _, line := range p.stdout.lines() {
		if at := clockTime.FindStringIndex(line); at != nil {
			lines = append(lines, line[at[1]:])
		}
	}
	return lines
}

// A server and clients, each a process of its own, as two people use them.
func TestChat(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-addr", "127.0.0.1:0", "-store", "memory", "-grace", "50ms", "-events")
	addr := server.address(t)
	ann, bob := enter(t, bin, addr, "ann"), enter(t, bin, addr, "bob")

	ann.answers(t, "hello?", "! to whom? ")
	ann.answers(t, "@bob hello", "! not sent: hello (you and this user are not friends)")
	befriend(t, ann, bob, "ann", "bob")
	ann.shows(t, "* bob is online")
	bob.answers(t, "/friends", "* ann: online")
	ann.types(t, "@bob hello bob")
	bob.shows(t, " ann: hello bob")
	ann.shows(t, " ann to bob: hello bob")
	bob.types(t, "@ann") // turns to her
	bob.types(t, "hello ann")
	ann.shows(t, " bob: hello ann")

	bob.answers(t, "/busy", "* you are busy")
	ann.shows(t, "* bob is busy")
	bob.answers(t, "/invisible", "* you are invisible")
	ann.shows(t, "* bob is gone")
	ann.answers(t, "/friends", "* bob: offline, last online ")
	bob.answers(t, "/back", "* you are online")
	eventually(t, "ann sees bob come back", func() bool { return strings.Count(ann.stdout.String(), "* bob is online") == 2 })

	makeRoom(t, ann, bob, "climbing")
	ann.shows(t, "* bob has joined #climbing")
	ann.types(t, "who is coming?")
	bob.shows(t, " #climbing ann: who is coming?")
	bob.types(t, "#1 me")
	ann.shows(t, " #climbing bob: me")
	bob.answers(t, "/members climbing", "* ann: online, the owner")
	bob.answers(t, "/rooms", "* #1 climbing: 2 in it, you are a member; ID ")

	ann.types(t, "#climbing I have said too much")
	bob.shows(t, "I have said too much")
	ann.types(t, "/recall")
	bob.shows(t, " #climbing ann: (recalled) the message of ")
	bob.answers(t, "/history climbing", " #climbing ann: (recalled)\n")
	if _, page, _ := strings.Cut(bob.stdout.String(), "* #climbing, messages 1 to "); strings.Contains(page, "too much") {
		t.Errorf("history has what was recalled:\n%s", page)
	}

	ann.answers(t, "/mute 1 bob 10m", "* bob may not write in #climbing until ")
	bob.shows(t, "* ann has muted you in #climbing until ")
	bob.answers(t, "#climbing may I?", "! not sent: may I? (an administrator has muted you in this group, until ")
	ann.answers(t, "/unmute 1 bob", "* bob may write in #climbing")
	bob.shows(t, "* ann lets you write in #climbing again")
	ann.answers(t, "/quiet 1 on", "* only administrators write in #climbing")
	bob.answers(t, "#climbing and now?", "! not sent: and now? (only administrators may write in this group now)")
	ann.answers(t, "/quiet 1 off", "* everybody writes in #climbing")
	bob.types(t, "/anon #climbing guess who")
	ann.shows(t, " #climbing (anonymous): guess who")
	bob.types(t, "/recall")
	ann.shows(t, " #climbing (anonymous): (recalled) the message of ")
	ann.answers(t, "/anon @bob psst", "! not sent: psst (this user takes no anonymous messages)")
	bob.answers(t, "/settings anonymous on", "anonymous on (")
	ann.types(t, "/anon @bob psst")
	bob.shows(t, " (anonymous): psst")

	// bob goes, and is back: the last messages are there.
	bob.answers(t, "/busy", "* you are busy")
	bob.types(t, "/quit")
	bob.wait(t)
	eventually(t, "ann sees bob go", func() bool { return strings.Count(ann.stdout.String(), "* bob is gone") == 2 })
	ann.types(t, "@bob are you there?")
	ann.shows(t, "ann to bob: are you there?")
	bob = enter(t, bin, addr, "bob", "-device", "phone")
	bob.shows(t, " ann: are you there?")
	bob.shows(t, "* you are busy; /back ends that")
	if first := bob.stdout.lines()[0]; !strings.HasPrefix(first, "* you are bob on a phone; /help") {
		t.Errorf("the first line is %q", first)
	}
	bob.shows(t, " #climbing bob: me")
	bob.answers(t, "/history @ann", "* @ann, messages 1 to 3")
	ann.answers(t, "/admin 1 bob", "* bob is an administrator of #climbing")
	bob.shows(t, "* ann has made you an administrator of #climbing")
	ann.answers(t, "/admin 1 bob off", "* bob is a member of #climbing")
	ann.answers(t, "/ban 1 bob", "* bob is banned from #climbing")
	bob.shows(t, "* ann has banned you from #climbing")
	bob.answers(t, "/join 1", "! you are banned from this group")
	ann.answers(t, "/unban 1 bob", "* bob may come back to #climbing")
	ann.answers(t, "/add 1 bob", "* bob is in #climbing now")
	bob.shows(t, "* ann has added you to #climbing")
	ann.answers(t, "/dissolve 1", "* #climbing is dissolved")
	bob.shows(t, "* ann has dissolved #climbing")
	ann.answers(t, "/help", "/quit ")
	ann.answers(t, "/dance", "! /dance? /help tells what you can do")
	ann.answers(t, "/mute", "! /mute #climbing bob [10m]")

	again := enter(t, bin, addr, "bob", "-device", "phone")
	bob.shows(t, "* pushed out: you logged on somewhere else on the same kind of device")
	bob.wait(t)
	_ = again.in.Close() // as Ctrl-D does
	again.wait(t)

	server.end(t, syscall.SIGTERM)
	ann.shows(t, "* the connection is lost; trying again")
	ann.end(t, syscall.SIGINT)
	for _, event := range []string{`"event":"online"`, `"event":"user_created"`, `"event":"stored"`, `"event":"recalled"`, `"event":"group_muted"`, `"event":"contact_friends"`, `"event":"refused"`} {
		server.shows(t, event)
	}
}

// The connections of both are lost again and again while they talk: each has shown every message once, in the same order (rules P29, P33).
func TestChatLosesAndDoublesNothing(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-addr", "127.0.0.1:0")
	cables := []*testkit.Cable{testkit.NewCable(t, server.address(t)), testkit.NewCable(t, server.address(t))}
	ann, bob := enter(t, bin, cables[0].Addr(), "ann"), enter(t, bin, cables[1].Addr(), "bob")
	makeRoom(t, ann, bob, "climbing")
	const rounds, each = 5, 8
	for i := range rounds * each {
		ann.types(t, fmt.Sprintf("#climbing ann says %d.", i))
		bob.types(t, fmt.Sprintf("#climbing bob says %d.", i))
		if i%each == each/2 {
			cables[i/each%2].Break()
		}
	}
	for _, p := range []*terminal{ann, bob} {
		eventually(t, "all messages are there", func() bool { return len(p.said()) >= 2*rounds*each })
	}
	ann.types(t, "#climbing the end")
	bob.shows(t, "the end")
	ann.shows(t, "the end")
	hers, his := strings.Join(ann.said(), "\n"), strings.Join(bob.said(), "\n")
	if hers != his {
		t.Errorf("ann has seen\n%s\nand bob\n%s", hers, his)
	}
	for _, who := range []string{"ann", "bob"} {
		rest := hers
		for i := range rounds * each {
			line := fmt.Sprintf("#climbing %s: %s says %d.", who, who, i)
			_, after, found := strings.Cut(rest, line)
			if !found || strings.Count(hers, line) != 1 {
				t.Fatalf("%q is missing, twice, or not where it should be:\n%s", line, hers)
			}
			rest = after
		}
	}
}

// What is written while there is no connection goes out when there is one.
func TestChatWaitsForTheConnection(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-addr", "127.0.0.1:0", "-strangers")
	cable := testkit.NewCable(t, server.address(t))
	ann, bob := enter(t, bin, cable.Addr(), "ann"), enter(t, bin, server.address(t), "bob")
	nowhere := testkit.FreeAddr(t)
	cable.Lead(nowhere)
	cable.Break()
	ann.shows(t, "* the connection is lost; trying again")
	ann.types(t, "@bob better late than never")
	ann.shows(t, "* waits for the connection: better late than never")
	cable.Lead(server.address(t))
	bob.shows(t, " ann: better late than never")
	ann.shows(t, " ann to bob: better late than never")
	ann.shows(t, "* there is a connection again")
	if n := strings.Count(ann.stdout.String(), "* the connection is lost"); n != 1 {
		t.Errorf("that the connection is lost is told %d times", n)
	}
}

// What a user sends cannot rewrite another's terminal: control characters, and those that turn the direction of writing, are
// shown, and everything else is as it was sent.
func TestChatShowsControlCharacters(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-addr", "127.0.0.1:0", "-strangers")
	addr := server.address(t)
	ann, bob := enter(t, bin, addr, "ann"), enter(t, bin, addr, "bob")
	ann.types(t, "@bob \x1b[2J\x07\u202eünder\u009b")
	bob.shows(t, `ann: \x1b[2J\a\u202eünder\u009b`)

	mallory, err := chatclient.Dial(t.Context(), addr, client.Config{UserID: "mal\u202elory"}, chatclient.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer mallory.Close()
	options := chatclient.SendOptions{ID: testkit.Must(uuid.NewV7())}
	if _, err := mallory.Send(t.Context(), chatclient.ToUser("bob"), 1, []byte("hi\n10:42 ann: I owe you nothing"), options); err != nil {
		t.Fatal(err)
	}
	bob.shows(t, `mal\u202elory: hi\n10:42 ann: I owe you nothing`)
	if _, err := mallory.RequestFriend(t.Context(), "bob", "\u202etrust me"); err != nil {
		t.Fatal(err)
	}
	bob.shows(t, `* mal\u202elory asks to be your friend: \u202etrust me`)
	if said := bob.stdout.String(); strings.ContainsAny(said, "\x1b\x07\u202e\u009b") {
		t.Errorf("the terminal got %q", said)
	}
}

func TestChatServerNamesTheOneThatKeepsMessages(t *testing.T) {
	out, err := exec.Command(build(t, "chat"), "server", "-store", "sqlite").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "chat/sqlstore/example has -db FILE") {
		t.Errorf("%v: %s", err, out)
	}
}

// Who joins a room is shown its last messages, 50 at most. Requests are declined, friendships and memberships end, and users are blocked.
func TestChatWhatEnds(t *testing.T) {
	bin := build(t, "chat")
	server := open(t, bin, "server", "-addr", "127.0.0.1:0", "-grace", "1ms")
	addr := server.address(t)
	ann, bob := enter(t, bin, addr, "ann"), enter(t, bin, addr, "bob")

	ann.types(t, "/room new climbing")
	ann.shows(t, "* climbing is your room, #1")
	_, join, _ := strings.Cut(ann.stdout.String(), "come in by ")
	join, _, _ = strings.Cut(join, ",")
	for i := range 52 {
		ann.types(t, fmt.Sprint("message ", i+1, "."))
	}
	ann.shows(t, " #climbing ann: message 52.")
	bob.types(t, join)
	bob.shows(t, " #climbing ann: message 52.")
	bob.shows(t, "* you are in #climbing")
	if said := bob.said(); len(said) != 50 || said[0] != "#climbing ann: message 3." {
		t.Errorf("who joins is shown %d messages: %q", len(said), said)
	}
	bob.answers(t, "/leave climbing", "* you have left #climbing")
	ann.shows(t, "* bob has left #climbing")
	bob.answers(t, "#climbing hello?", "! not sent: hello? (you are not a member of this group)")
	bob.answers(t, join, "* you are in #climbing")
	ann.answers(t, "/kick climbing bob", "* bob is in #climbing no more")
	bob.shows(t, "* ann has removed you from #climbing")

	ann.answers(t, "/friend bob", "* bob is asked")
	bob.shows(t, "* ann asks to be your friend (/accept ann or /decline ann)")
	bob.answers(t, "/decline ann", "* declined")
	ann.answers(t, "/friend bob", "! this user has declined, and may be asked again later")
	befriend(t, bob, ann, "bob", "ann")
	bob.shows(t, "* ann is online")
	ann.answers(t, "/unfriend bob", "* bob is your friend no more")
	bob.shows(t, "* ann is your friend no more")
	bob.shows(t, "* ann is gone")
	bob.answers(t, "/block ann", "* ann is blocked")
	ann.answers(t, "/friend bob", "! this user has blocked you")
	ann.answers(t, "@bob hello?", "! not sent: hello? (this user has blocked you)")
	bob.answers(t, "/friends", "* ann: blocked")
	bob.answers(t, "/unblock ann", "* ann is not blocked any more")
	ann.answers(t, "/friend bob please", "* bob is asked")
}
