// Types of page/app.js, for tsc. The page does without them. Those of the API come from openapi.json: see internal/browsertest.

/** What can stand in an element; false and undefined leave it out. */
type Child = Node | string | number | false | null | undefined | Child[]

/** Attributes of an element, and its handlers. */
type Attributes = { [handler: `on${string}`]: (e: any) => unknown, [name: string]: any }

/**
 * Makes an element. Its name may have classes: "p.note". Attributes that are undefined or false are left out, and so are children.
 */
type MakeElement = (name: string, attributes?: Attributes | Child, ...children: Child[]) => any

/** A line of a chart, and the address of the list behind it. */
type Line = [name: string, numbers: number[], behind: string]

/** Loads what a view shows, and returns how it is drawn. */
type Load = (p: URLSearchParams) => (() => Child) | Promise<() => Child>

/** Whom an act is about: a user, one connection of the user, or many users. */
type Victim = { user?: string, conn?: number, users?: string[] }

/** Which view is shown: the first part of the address, and its parameters. */
type View = { path: string, p: URLSearchParams, draw: () => Child, relations?: Relations | void }
