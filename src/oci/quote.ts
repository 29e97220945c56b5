/** A stranger's text for a message: quoted, short, in one line, and without what a terminal would obey. */
export function quote(text: string): string {
  const short = text.length > 160 ? `${text.slice(0, 160)}…` : text
  return JSON.stringify(short).replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?')
}
