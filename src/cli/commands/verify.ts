import { errorTable, WindlassError } from '../../errors.ts'
import { quote } from '../../oci/quote.ts'
import type { VerifyFinding } from '../../places/store/types.ts'
import { defineCommand } from '../command.ts'
import { connectionOptions } from '../connections.ts'
import { writeJson, writeLine, writeNote } from '../output.ts'
import { openStore } from '../store.ts'

export const command = defineCommand({
  description:
    'Checks the store: the size and digest of every blob, every layer directory and its links, and that every image is complete. ' +
    'Nothing is changed unless --repair is given. Each finding is a line on stdout.\n' +
    "With --signature, checks instead whether an image at a registry, in an OCI layout or in an OCI archive (docker://REF, oci:DIR, oci-archive:FILE) is signed by a key: cosign's signatures, " +
    'under its tags and as bundles among the referrers. Nothing is asked but that place: no log, no authority, no clock. The last line on stdout is the reference with the digest that is signed.',
  operands: [{ name: 'REF', optional: true }],
  options: {
    signature: { type: 'boolean', summary: 'check the signatures of an image; wants --key and REF' },
    key: {
      type: 'string',
      value: 'FILE',
      multiple: true,
      summary: 'a public key in PEM, such as cosign.pub; of several, one is enough',
    },
    identity: {
      type: 'string',
      value: 'REPO',
      summary: "the repository that the signature must name, if it names one; default is the image's own",
    },
    'tls-ca': connectionOptions['tls-ca'],
    'insecure-registry': connectionOptions['insecure-registry'],
    repair: { type: 'boolean', summary: 'take damaged blobs out of the store, so that a pull fetches them again' },
  },
  examples: [
    { line: 'windlass verify', does: 'Check everything.' },
    { line: 'windlass verify --repair', does: 'Take out what is damaged; then pull again.' },
    { line: 'windlass verify --json | jq .findings', does: 'Hand the findings to a program.' },
    {
      line: 'windlass verify --signature --key cosign.pub registry.example:5000/team/app:2.4',
      does: 'Check that an image is signed.',
    },
    { line: 'windlass verify -q || echo damaged', does: 'Ask for the exit status only.' },
  ],
  exits: [
    '2  the image was not found',
    '6  something is wrong, or was before it was repaired; the image is not signed',
  ],
  async run(context, [text], { repair, signature, ...options }) {
    if (signature) {
      if (repair) throw new WindlassError('USAGE', 'Cannot repair a signature: leave out --repair')
      return await (await import('../signature.ts')).verifySignature(context, text, options)
    }
    const other = text ?? options.key[0] ?? options.identity
    if (other !== undefined) {
      const hint = "'windlass verify' checks the whole store; add --signature to check an image's signature"
      throw new WindlassError('USAGE', `Cannot use ${quote(other)}: --signature is missing`, { hint })
    }
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
