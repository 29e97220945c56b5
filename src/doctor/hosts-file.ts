/** The file that names hosts before any name server is asked. hosts(5) */

/** Names in lower case: they are compared without regard to it. */
export function parseHosts(text: string): [address: string, ...names: string[]][] {
  const lines = text.split('\n').map(line => line.replace(/#.*/, '').trim())
  return lines.filter(Boolean).map(line => line.toLowerCase().split(/\s+/) as [string, ...string[]])
}
