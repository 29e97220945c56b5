/** Options of the doctor that do not go together: what would be passed over is refused. */
import { WindlassError } from '../../errors.ts'

/** What is done instead of a look; one at a time. */
const deeds = ['emit-collector', 'rescue', 'install-service', 'fixes', 'fix', 'undo'] as const
/** Of a look alone. */
const ofLooks = ['report', 'bundle', 'try', 'registry'] as const

type Given = Readonly<Partial<Record<string, unknown>>>

/** @throws WindlassError USAGE */
export function checkOptions(options: Given): void {
  const isGiven = (name: string) => options[name] !== undefined && options[name] !== false
  const refuse = (name: string, because: string) => {
    throw new WindlassError('USAGE', `Cannot use option --${name}${because}`)
  }
  const [deed, another] = deeds.filter(isGiven)
  if (another !== undefined) refuse(another, ` with --${deed}: one thing at a time`)
  if (deed !== undefined) {
    for (const name of ofLooks.filter(isGiven)) refuse(name, ` with --${deed}: it is for a look`)
    for (const name of ['host', 'from'].filter(isGiven))
      refuse(deed, ` with --${name}: it concerns this host, not that one`)
  }
  const isService = deed === 'rescue' && isGiven('watch')
  if (isGiven('watch') && deed !== undefined && !isService) refuse('watch', ` with --${deed}: it is done once`)
  if (isGiven('metrics') && !isService && deed !== 'install-service')
    refuse('metrics', ': it is for --watch --rescue, and for --install-service')
  if (isGiven('give-up') && !isService) refuse('give-up', ': it is for --watch --rescue')
}
