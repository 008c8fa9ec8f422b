// Types of page/app.js, for tsc. The page does without them. Those of the API come from openapi.json: see internal/browsertest.

/** What can stand in an element; false and undefined leave it out. */
type Child = Node | string | number | false | null | undefined | Child[]

/** Texts, and numbers, by name. */
type Texts = Record<string, string>
type Counts = Record<string, number>

/** Attributes of an element, and its handlers. */
type Attributes = { [handler: `on${string}`]: (e: any) => unknown, [name: string]: any }

/**
 * Makes an element. Its name may have classes: "p.note". Attributes that are undefined or false are left out, and so are children.
 */
type MakeElement = (name: string, attributes?: Attributes | Child, ...children: Child[]) => any

/**
 * Makes an old element, which is shown, like a new one, and keeps the elements that may stay: with the focus, and with what is written and ticked in
 * them.
 */
type Patch = (old: any, now: any) => void

/** An address of the page or of the API: a path and parameters. Those without a value are left out. */
type To = (path: string, parameters?: URLSearchParams | Record<string, any>) => string

/**
 * Makes a table of rows, which a key tells apart, with a column for each name; or says that there is none. A name has "!" after it where the column has
 * numbers, and "@" where it is the head of a card: a phone shows a card for each row.
 */
type Table = <T>(rows: T[], key: (row: T) => string | number, columns: Record<string, (row: T) => Child>) => any

/** The columns of a table of sessions. */
type Columns = Record<string, (s: any) => Child>

/** Makes a table of counts by name, the largest first. */
type CountTable = (counts: Counts, head: string, shown: (name: string) => Child) => any

/** Asks the API. With a body it acts. */
type Api = <P extends keyof Answers>(path: P, query?: Queries[P] | URLSearchParams, body?: Bodies[P]) => Promise<Answers[P]>

/** Makes a chart of lines, whose numbers are shown in a format. */
type Chart = (title: string, lines: Line[], s: Series, format: (n: number) => string) => any

/**
 * Asks for something in the dialog. label is on the button. act gets what was written, and returns what is said when it is done; its error is shown in
 * the dialog.
 */
type Ask = (title: string, about: Child, fields: Child, label: string, act: (written: FormData) => Promise<Child>) => void

/** A line of a chart, and the address of the list behind it. */
type Line = [name: string, numbers: number[], behind: string]

/** Loads what a view shows, and returns how it is drawn. */
type Load = (p: URLSearchParams) => (() => Child) | Promise<() => Child>

/** Whom an act is about: a user, one connection of the user, or many users. */
type Victim = { user?: string, conn?: number, users?: string[] }

/** Which view is shown: the first part of the address, and its parameters. */
type View = { path: string, p: URLSearchParams, draw: () => Child, relations?: Relations | void }
