import type { HostView } from '../../sys/host-view.ts'

const head = '#!/bin/sh\n# Made by windlass'

/** What stands in the place of a decompressor. @param gzip as the engine finds it */
export function formatShim(gzip: string, engine: string): string {
  return `${head}: ${engine} decompresses with gzip. To take it away: windlass doctor --undo\nexec ${gzip} "$@"\n`
}

export async function isShim(host: HostView, path: string): Promise<boolean> {
  const facts = await host.disk.file(path)
  return facts !== undefined && facts.size < 4096 && ((await host.disk.text(path)) ?? '').startsWith(head)
}
