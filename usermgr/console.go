package usermgr

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	defaultConsoleRows = 50
	departuresKept     = 5
)

// clearScreen moves a terminal's cursor home and clears the screen.
const clearScreen = "\x1b[H\x1b[2J"

// console draws a table. Its methods run one at a time.
type console struct {
	rows   int
	clears bool // clear the screen before each table

	w     io.Writer
	users map[string]DisplayItem
	left  []string // the newest last
}

var (
	_ UserDisplayer = (*console)(nil)
	_ Refresher     = (*console)(nil)
)

// NewConsoleDisplayer returns a displayer that draws a table on w: the users by ID, with the address and the transport (Address.Via) of
// the newest session and with their traffic, and the reasons of the last few departures. rows limits the users in the table: 0 means
// 50, negative means all. The displayer makes one Write for each table and ignores w's errors. On a terminal each table replaces the
// last. A character that a terminal would not show as itself, such as one that changes the direction of writing, is written as its
// number. Pass it to Display once only.
func NewConsoleDisplayer(w io.Writer, rows int) UserDisplayer {
	return &console{w: w, rows: rows, clears: isTerminal(w), users: make(map[string]DisplayItem)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// ClearAll implements UserDisplayer.
func (c *console) ClearAll() {
	clear(c.users)
	c.left = nil
}

// SetOrUpdateUserItem implements UserDisplayer.
func (c *console) SetOrUpdateUserItem(item DisplayItem) { c.users[item.UserID] = item }

// RemoveUser implements UserDisplayer.
func (c *console) RemoveUser(userID string, cause protocol.CloseCode) {
	delete(c.users, userID)
	c.left = append(c.left, visible(userID)+" left: "+cause.Error())
	if len(c.left) > departuresKept {
		c.left = slices.Delete(c.left, 0, 1)
	}
}

// Refresh implements Refresher: it draws the table.
func (c *console) Refresh() {
	var b bytes.Buffer
	if c.clears {
		b.WriteString(clearScreen)
	}
	fmt.Fprintf(&b, "%s online\n", withCommas(len(c.users)))
	rows := c.firstRows()
	cells := [][]string{{"USER", "ADDRESS", "VIA", "MESSAGES IN", "BYTES IN", "MESSAGES OUT", "BYTES OUT", "LAST TYPE OUT"}}
	for _, userID := range rows {
		i := c.users[userID]
		cells = append(cells, []string{visible(userID), visible(i.Address.String()), visible(cmp.Or(i.Address.Via, "-")), fmt.Sprint(i.In.Messages), fmt.Sprint(i.In.Bytes),
			fmt.Sprint(i.Out.Messages), fmt.Sprint(i.Out.Bytes), typeName(i.Out.LastType)})
	}
	b.WriteString(inColumns(cells))
	if more := len(c.users) - len(rows); more > 0 {
		fmt.Fprintf(&b, "… and %s more\n", withCommas(more))
	}
	for _, line := range slices.Backward(c.left) {
		fmt.Fprintln(&b, line)
	}
	if !c.clears {
		b.WriteByte('\n') // between one table and the next
	}
	c.w.Write(b.Bytes()) //nolint:errcheck // there is no caller to return it to
}

// firstRows returns the IDs of the users to list, sorted. It does not sort those that are not listed.
func (c *console) firstRows() []string {
	limit := c.rows
	switch {
	case limit == 0:
		limit = defaultConsoleRows
	case limit < 0:
		limit = len(c.users)
	}
	if limit >= len(c.users) {
		return slices.Sorted(maps.Keys(c.users))
	}
	rows := make([]string, 0, limit+1)
	for userID := range c.users {
		if len(rows) == limit && userID > rows[limit-1] {
			continue
		}
		at, _ := slices.BinarySearch(rows, userID)
		rows = slices.Insert(rows, at, userID)
		rows = rows[:min(len(rows), limit)]
	}
	return rows
}

// typeName returns a message type in the notation of docs/protocol.md; "-" when there was no message.
func typeName(typ uint16) string {
	if typ == 0 {
		return "-"
	}
	return fmt.Sprintf("0x%04X", typ)
}

// withCommas groups the digits of n, which is not negative, by thousands.
func withCommas(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// columns returns how many columns of a terminal a visible text takes.
func columns(text string) (n int) {
	for _, r := range text {
		if n++; unicode.Is(wide, r) {
			n++
		}
	}
	return n
}

// inColumns lays rows out in columns, two spaces apart.
func inColumns(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-columns(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
