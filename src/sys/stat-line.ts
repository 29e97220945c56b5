/** The one line of /proc/PID/stat and of that of a task. */

// The name stands in parentheses and may itself contain any of ") (": the last one ends it. It has 15 bytes, of which some may be written as four, or up to 63
// of a kernel thread: what is longer is no name, but two such lines one after the other.
export function parseStat(
  text: string | undefined,
): { readonly name: string; readonly state: string; readonly field: (number: number) => number } | undefined {
  const [, name, rest] = /^\d+ \((.{0,63})\) (\S( -?\d+)*)\s*$/s.exec(text ?? '') ?? []
  if (name === undefined || rest === undefined) return undefined
  const fields = rest.split(' ') // fields[0] is field 3 of proc_pid_stat(5)
  return { name, state: fields[0] ?? '?', field: number => Number(fields[number - 3]) }
}
