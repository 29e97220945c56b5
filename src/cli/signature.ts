import { namelessDomain, openImage } from '../copy/places.ts'
import { parseTransport, type Transport } from '../copy/transport.ts'
import { checkSignatures, readPublicKey } from '../copy/trust/check.ts'
import { nameWithDigest } from '../copy/trust/gatekeeper.ts'
import type { SignedIdentity } from '../copy/trust/identity.ts'
import { fingerprintOf } from '../copy/trust/keys.ts'
import { WindlassError } from '../errors.ts'
import { retry } from '../flow/retry.ts'
import { parseReference, type Reference, repositoryName } from '../oci/reference.ts'
import type { Context, OptionValues } from './command.ts'
import type { connectionOptions } from './connections.ts'
import { writeJson, writeLine, writeNote, writeWarning } from './output.ts'
import { placeOptions } from './transfer.ts'

interface Options extends Pick<OptionValues<typeof connectionOptions>, 'tls-ca' | 'insecure-registry'> {
  readonly key: readonly string[]
  readonly identity: string | undefined
}

/** Checks that an image is signed by one of the keys, and prints what is. @throws WindlassError SIGNATURE_INVALID */
export async function verifySignature(context: Context, text: string | undefined, options: Options): Promise<number> {
  const { key: files, identity, ...network } = options
  if (text === undefined || files.length === 0) {
    const missing = text === undefined ? 'the image is missing' : '--key is missing'
    throw new WindlassError('USAGE', `Cannot verify a signature: ${missing}; wanted --key FILE and REF`)
  }
  const keys = []
  for (const file of files) keys.push(await readPublicKey(file))
  const transport = readPlace(text)
  await using image = await openImage(
    transport,
    await placeOptions(context, { ...network, cert: undefined, key: undefined }),
  )
  const { signal } = context
  const retrying = { signal, onRetry: (error: WindlassError) => writeWarning(context, error.message) }
  const { source, reference } = image
  if (source.listReferrers === undefined) {
    const hint = 'a registry, an OCI layout or an OCI archive holds signatures'
    throw new WindlassError('UNSUPPORTED', `Cannot verify ${text}: ${transport.kind} holds no signatures`, { hint })
  }
  const top = await retry(() => source.resolve(reference, signal), retrying)
  const { digest } = top.descriptor
  const name = reference.domain === namelessDomain ? digest : nameWithDigest(reference, digest)
  const toCheck = { name, reference, documents: [top] as const, sources: [source] }
  const found = await checkSignatures(
    toCheck,
    { keys, identity: readIdentity(identity, transport, reference), mayBeNameless: identity === undefined },
    { ...retrying, onSkipped: message => writeWarning(context, message) },
  )
  const signatures = found.map(({ signature, form, identity: signed, key }) => {
    return {
      signature,
      form,
      ...(signed !== undefined && { identity: signed }),
      key: key.name,
      fingerprint: fingerprintOf(key),
    }
  })
  for (const { signature, form, identity: signed, key } of signatures)
    writeNote(
      context,
      `Signed by ${key}: ${signature} (${form}${signed === undefined ? ', names no repository' : `, for ${signed}`})`,
    )
  if (context.json) writeJson(context, { reference: name, digest, signatures })
  else writeLine(context, name)
  return 0
}

/** A place in the words of copy, or the name of an image at its registry. */
function readPlace(text: string): Transport {
  return /^(docker|oci|oci-archive|docker-archive|store|docker-daemon|containerd|containers-storage):(?!\d)/.test(text)
    ? parseTransport(text)
    : { kind: 'docker', reference: parseReference(text) }
}

/** Of an image of a layout, only the digest is known to be its own. */
function readIdentity(text: string | undefined, transport: Transport, reference: Reference): SignedIdentity {
  if (text !== undefined) return { type: 'exactRepository', dockerRepository: repositoryName(parseReference(text)) }
  return transport.kind === 'docker' || reference.domain !== namelessDomain
    ? { type: 'matchRepository' }
    : { type: 'matchDigest' }
}
