/** The one line of /proc/PID/stat and of that of a task. */

// The name stands in parentheses and may itself contain any of ") (": the last one ends it.
export function parseStat(
  text: string | undefined,
): { readonly name: string; readonly state: string; readonly field: (number: number) => number } | undefined {
  const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(text ?? '') ?? []
  if (name === undefined || rest === undefined) return undefined
  const fields = rest.split(' ') // fields[0] is field 3 of proc_pid_stat(5)
  return { name, state: fields[0] ?? '?', field: number => Number(fields[number - 3]) }
}
