/** Every check. In which order they run follows from what each says that it comes after. */
import type { Check } from './check.ts'
import { clock } from './clock.ts'
import { connections } from './connections.ts'
import { controlGroupView } from './control-group-view.ts'
import { credentialHelpers } from './credential-helpers.ts'
import { dType } from './d-type.ts'
import { decompressorFile } from './decompressor-file.ts'
import { decompressorLibrary } from './decompressor-library.ts'
import { decompressorPackage } from './decompressor-package.ts'
import { decompressorPrograms } from './decompressor-programs.ts'
import { decompressorSettings } from './decompressor-settings.ts'
import { diskSpace } from './disk-space.ts'
import { downloadSlots } from './download-slots.ts'
import { entropy } from './entropy.ts'
import { fetchPlaces } from './fetch-places.ts'
import { fileGates } from './file-gates.ts'
import { heldPipes } from './held-pipes.ts'
import { hungTasks } from './hung-tasks.ts'
import { ingestLocks } from './ingest-locks.ts'
import { kernelFaults } from './kernel-faults.ts'
import { knownFaults } from './known-faults.ts'
import { leftDownloads } from './left-downloads.ts'
import { leftOver } from './left-over.ts'
import { locks } from './locks.ts'
import { memory } from './memory.ts'
import { overlayPlace, overlaySupport } from './overlay.ts'
import { pathMtu } from './path-mtu.ts'
import { pressure } from './pressure.ts'
import { processLimits } from './process-limits.ts'
import { processor } from './processor.ts'
import { registryClock } from './registry-clock.ts'
import { registryCredentials } from './registry-credentials.ts'
import { registryDownload } from './registry-download.ts'
import { registryFamilies } from './registry-families.ts'
import { registryImage } from './registry-image.ts'
import { registryName } from './registry-name.ts'
import { registryReach } from './registry-reach.ts'
import { registryView } from './registry-view.ts'
import { runningEngines } from './running-engines.ts'
import { storageDriver } from './storage-driver.ts'
import { syncTime } from './sync-time.ts'
import { unitSettings } from './unit-settings.ts'
import { zstdLayers } from './zstd-layers.ts'

export const allChecks: readonly Check[] = [
  ...[
    runningEngines,
    knownFaults,
    kernelFaults,
    unitSettings,
    locks,
    leftOver,
    leftDownloads,
    heldPipes,
    fetchPlaces,
    downloadSlots,
    ingestLocks,
  ],
  ...[decompressorPrograms, decompressorSettings, decompressorFile, decompressorLibrary, decompressorPackage],
  ...[diskSpace, dType, overlaySupport, overlayPlace, storageDriver, syncTime],
  ...[
    registryView,
    registryName,
    registryFamilies,
    registryReach,
    registryCredentials,
    registryClock,
    registryImage,
    registryDownload,
    pathMtu,
    zstdLayers,
    connections,
    credentialHelpers,
  ],
  ...[fileGates, controlGroupView, memory, processor, processLimits, pressure, clock, entropy, hungTasks],
]
