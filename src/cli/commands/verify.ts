import { errorTable } from '../../errors.ts'
import type { VerifyFinding } from '../../places/store/types.ts'
import { defineCommand } from '../command.ts'
import { writeJson, writeLine, writeNote } from '../output.ts'
import { openStore } from '../store.ts'

export const command = defineCommand({
  description:
    'Checks the store: the size and digest of every blob, every layer directory and its links, and that every image is complete. ' +
    'Nothing is changed unless --repair is given. Each finding is a line on stdout.',
  operands: [],
  options: {
    repair: { type: 'boolean', summary: 'take damaged blobs out of the store, so that a pull fetches them again' },
  },
  examples: [
    { line: 'windlass verify', does: 'Check everything.' },
    { line: 'windlass verify --repair', does: 'Take out what is damaged; then pull again.' },
    { line: 'windlass verify --json | jq .findings', does: 'Hand the findings to a program.' },
    { line: 'windlass verify -q || echo damaged', does: 'Ask for the exit status only.' },
  ],
  exits: ['6  something is wrong, or was before it was repaired'],
  async run(context, _operands, { repair }) {
    const { json, quiet, signal } = context
    await using store = await openStore(context)
    const findings: VerifyFinding[] = []
    {
      using _progress = await context.openProgress('Verifying the store')
      for await (const finding of store.verify({ signal, repair })) findings.push(finding)
    }
    if (json) writeJson(context, { findings })
    else if (!quiet) for (const finding of findings) writeLine(context, formatFinding(finding))
    if (findings.length === 0) writeNote(context, 'The store is sound')
    return findings.length === 0 ? 0 : errorTable.CORRUPT.exit
  },
})

function formatFinding({ kind, subject, problem, repaired }: VerifyFinding): string {
  const state = repaired === true ? '; taken out of the store, pull again' : ''
  return `${kind} ${subject}: ${problem}${state}`
}
