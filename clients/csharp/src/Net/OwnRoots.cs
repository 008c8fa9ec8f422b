using System;
using System.Linq;
using System.Reflection;
using System.Security.Cryptography.X509Certificates;

namespace Rollcall.Net
{
    /// <summary>Checks a server's certificate against authorities that the program trusts, and no others.</summary>
    internal static class OwnRoots
    {
        /// <summary>Says whether the chain leads to one of the roots. peerChain may have the certificates that the server sent beside its own.</summary>
        internal static bool Trust(X509Certificate2 leaf, X509Chain peerChain, X509Certificate2Collection roots)
        {
            var sent = new X509Certificate2Collection(leaf);
            if (peerChain != null)
            {
                foreach (X509ChainElement element in peerChain.ChainElements)
                {
                    if (!element.Certificate.Equals(leaf))
                        sent.Add(element.Certificate);
                }
                sent.AddRange(peerChain.ChainPolicy.ExtraStore);
            }
            return MonoTrust(sent, roots) ?? ChainTrust(leaf, sent, roots);
        }

        /// <summary>
        /// X509Chain cannot be given roots in .NET Standard 2.1. So any root is allowed when the chain is built, and compared afterwards;
        /// every other fault of the chain counts.
        /// </summary>
        internal static bool ChainTrust(X509Certificate2 leaf, X509Certificate2Collection sent, X509Certificate2Collection roots)
        {
            using (var chain = new X509Chain())
            {
                chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
                chain.ChainPolicy.VerificationFlags = X509VerificationFlags.AllowUnknownCertificateAuthority;
                chain.ChainPolicy.ExtraStore.AddRange(sent);
                chain.ChainPolicy.ExtraStore.AddRange(roots);
                chain.ChainPolicy.ApplicationPolicy.Add(new System.Security.Cryptography.Oid("1.3.6.1.5.5.7.3.1")); // a server's certificate
                if (!chain.Build(leaf) || chain.ChainStatus.Any(s => (s.Status & ~X509ChainStatusFlags.UntrustedRoot) != 0))
                    return false;
                X509Certificate2 last = chain.ChainElements[chain.ChainElements.Count - 1].Certificate;
                return roots.Cast<X509Certificate2>().Any(root => root.RawData.SequenceEqual(last.RawData));
            }
        }

        /// <summary>
        /// Mono's X509Chain cannot check signatures with elliptic curves, but its own validator can. It is reached by its name, because it
        /// is no part of .NET Standard. Returns null on other runtimes.
        /// </summary>
        internal static bool? MonoTrust(X509Certificate2Collection sent, X509Certificate2Collection roots)
        {
            const string library = "Mono.Security.Interface.";
            Type helper = Type.GetType(library + "CertificateValidationHelper, Mono.Security");
            Type settingsType = Type.GetType(library + "MonoTlsSettings, Mono.Security");
            Type validatorType = Type.GetType(library + "ICertificateValidator, Mono.Security");
            const BindingFlags any = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;
            PropertyInfo anchors = settingsType?.GetProperty("TrustAnchors", any);
            PropertyInfo search = settingsType?.GetProperty("CertificateSearchPaths", any);
            MethodInfo get = helper?.GetMethod("GetValidator");
            MethodInfo validate = validatorType?.GetMethod("ValidateCertificate");
            if (anchors == null || search == null || get == null || validate == null)
                return null;
            object settings = Activator.CreateInstance(settingsType);
            anchors.SetValue(settings, new X509CertificateCollection(roots.Cast<X509Certificate>().ToArray()));
            search.SetValue(settings, new[] { "@trusted" }); // the anchors alone, and not the machine's authorities
            object validator = get.Invoke(null, new[] { settings });
            var certificates = new X509CertificateCollection(sent.Cast<X509Certificate>().ToArray());
            object result = validate.Invoke(validator, new object[] { null, false, certificates });
            return result != null && (bool)result.GetType().GetProperty("Trusted").GetValue(result);
        }
    }
}
